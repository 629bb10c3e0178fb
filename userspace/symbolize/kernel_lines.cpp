// SPDX-License-Identifier: Apache-2.0
#include "symbolize/kernel_lines.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <span>
#include <utility>

#include "elf/build_id.h"
#include "support/file.h"
#include "support/strings.h"
#include "symbolize/debug_files.h"

namespace tidemark::symbolize {
namespace {

namespace fs = std::filesystem;

// kallsyms and /sys have '_' where a file's name may have '-'.
std::string module_name(std::string name) {
  name.resize(std::min(name.size(), name.find(".ko")));
  std::ranges::replace(name, '-', '_');
  return name;
}

// The first that is there, has DWARF, and is of the build that runs.
template <typename Open>
Result<elf::LoadedLines> open_first(const std::vector<std::string>& paths,
                                    const std::optional<std::string>& build_id,
                                    const std::string& what, Open open) {
  std::string problem = "no debug information of " + what + " is installed";
  for (const std::string& path : paths) {
    std::error_code unreadable;
    if (!fs::exists(path, unreadable)) continue;
    auto opened = open(path);
    if (!opened) {
      problem = opened.error().text;
    } else if (build_id && opened->build_id() && *opened->build_id() != *build_id) {
      problem = path + " is of another build of " + what;
    } else {
      return opened;
    }
  }
  return fail("{}", problem);
}

}  // namespace

KernelLines::KernelLines(std::string release, std::optional<model::Address> stext, std::string root)
    : release_(std::move(release)), stext_(stext), root_(std::move(root)) {}

std::optional<std::string> KernelLines::running_build_id(const std::string& notes) const {
  const auto bytes = read_file(root_ + notes);
  if (!bytes) return std::nullopt;
  const auto* data = reinterpret_cast<const uint8_t*>(bytes->data());
  return elf::build_id_in_notes({data, bytes->size()}, elf::NoteAlignment::kFour);
}

KernelLines::Opened KernelLines::open_kernel() const {
  if (!stext_) return fail("/proc/kallsyms does not tell where the kernel begins");
  const auto build_id = running_build_id("/sys/kernel/notes");
  std::vector<std::string> paths;
  if (build_id) paths.push_back(root_ + path_by_build_id(*build_id));
  for (const std::string& path :
       {"/usr/lib/debug/boot/vmlinux-" + release_,
        "/usr/lib/debug/lib/modules/" + release_ + "/vmlinux",
        "/lib/modules/" + release_ + "/vmlinux", "/lib/modules/" + release_ + "/build/vmlinux",
        "/boot/vmlinux-" + release_}) {
    paths.push_back(root_ + path);
  }
  return open_first(paths, build_id, "this kernel",
                    [](const std::string& path) { return elf::LoadedLines::open(path); });
}

Status KernelLines::kernel() {
  if (!kernel_) {
    kernel_ = open_kernel();
    if (*kernel_) {
      const auto linked = (*kernel_)->address_of("_stext");
      if (linked) {
        kernel_bias_ = stext_->value - *linked;
      } else {
        kernel_ = fail("the kernel's debug information does not say where the kernel begins");
      }
    }
  }
  if (!*kernel_) return std::unexpected(kernel_->error());
  return {};
}

// Every file that may be a module's, of the two trees that hold them.
std::vector<std::string> KernelLines::module_files(std::string_view name) {
  if (!files_) {
    files_.emplace();
    for (const std::string& tree :
         {"/usr/lib/debug/lib/modules/" + release_, "/lib/modules/" + release_}) {
      std::error_code error;
      fs::recursive_directory_iterator each(root_ + tree, error);
      for (; !error && each != fs::recursive_directory_iterator(); each.increment(error)) {
        const std::string file = each->path().filename();
        if (file.find(".ko") != std::string::npos) files_->emplace(module_name(file), each->path());
      }
    }
  }
  std::vector<std::string> found;
  const auto [first, last] = files_->equal_range(std::string(name));
  for (auto each = first; each != last; ++each) found.push_back(each->second);
  return found;
}

KernelLines::Opened KernelLines::open_module(std::string_view name) {
  const std::string here = "/sys/module/" + std::string(name);
  const auto build_id = running_build_id(here + "/notes/.note.gnu.build-id");
  std::vector<std::string> paths = module_files(name);
  if (build_id) paths.insert(paths.begin(), root_ + path_by_build_id(*build_id));
  const auto place = [sections = root_ + here + "/sections/"](
                         std::string_view section) -> std::optional<uint64_t> {
    const auto text = read_file(sections + std::string(section));
    if (!text || !text->starts_with("0x")) return std::nullopt;
    return parse_number<uint64_t>(std::string_view(*text).substr(2, text->find('\n') - 2), 16);
  };
  return open_first(
      paths, build_id, "the module " + std::string(name),
      [&](const std::string& path) { return elf::LoadedLines::open_relocatable(path, place); });
}

std::optional<elf::SourceLine> KernelLines::at(std::string_view module, model::Address code) {
  if (module.empty()) {
    if (!kernel()) return std::nullopt;
    return (*kernel_)->at(code.value - kernel_bias_);
  }
  auto known = modules_.find(module);
  if (known == modules_.end())
    known = modules_.emplace(std::string(module), open_module(module)).first;
  if (!known->second) return std::nullopt;
  return known->second->at(code.value);
}

void KernelLines::forget_modules() {
  modules_.clear();
  files_.reset();
}

}  // namespace tidemark::symbolize
