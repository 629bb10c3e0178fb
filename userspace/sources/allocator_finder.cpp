// SPDX-License-Identifier: Apache-2.0
#include "sources/allocator_finder.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <unordered_set>

#include "support/target_file.h"

namespace tidemark::sources {
namespace {

struct NameHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view name) const noexcept {
    return std::hash<std::string_view>()(name);
  }
};
using Names = std::unordered_set<std::string, NameHash, std::equal_to<>>;

Names names_of_functions() {
  Names names;
  for (const Allocator& row : allocators()) {
    for (const SymbolFamily& family : row.families) {
      for (const auto& table : family.tables) {
        for (const AllocatorSymbol& symbol : table) {
          // C++ names what it names: operator new has no prefix.
          names.insert(std::string(family.prefix) + std::string(symbol.symbol));
        }
      }
    }
  }
  return names;
}

const Names& allocator_functions() {
  static const Names kNames = names_of_functions();
  return kNames;
}

Names names_to_look_for() {
  Names names = allocator_functions();
  for (const Allocator& row : allocators()) {
    for (const std::string_view name : row.evidence) names.insert(std::string(name));
    for (const SymbolFamily& family : row.families) {
      names.insert(std::string(family.marker));
      if (!family.alias_of.empty()) names.insert(std::string(family.alias_of));
    }
  }
  names.insert(std::string(kMakesException));
  names.insert(std::string(kLibrariesChanged));
  return names;
}

bool has(const elf::SymbolTable& functions, std::string_view name) {
  return !functions.find(name).empty();
}

bool is_of(const Allocator& row, std::string_view path, const elf::SymbolTable& functions) {
  if (row.libraries.empty() && row.evidence.empty()) return true;
  return is_library_of(row, path) || std::ranges::any_of(row.evidence, [&](std::string_view name) {
           return has(functions, name);
         });
}

bool has_family(const SymbolFamily& family, const elf::SymbolTable& functions) {
  const auto marker = functions.find(family.marker);
  if (marker.empty() || family.alias_of.empty()) return !marker.empty();
  const auto original = functions.find(family.alias_of);
  return !original.empty() && original.front().value == marker.front().value;
}

Result<FileFindings> read_findings(const UniqueFd& file, std::string_view path) {
  static const Names kWanted = names_to_look_for();
  auto image = open_image(file, path);
  if (!image) return std::unexpected(image.error());
  FileFindings findings;
  auto functions = image->select_functions([&](std::string_view name) {
    findings.has_functions = true;
    return kWanted.contains(name);
  });
  if (!functions) return std::unexpected(functions.error());
  findings.functions = std::move(*functions);
  findings.families = find_families(path, findings.functions);
  // Notes that are damaged are no reason to leave the functions alone.
  if (auto usdt = elf::read_usdt_probes(*image, kOtelProvider)) findings.usdt = std::move(*usdt);
  return findings;
}

}  // namespace

std::vector<std::string> guess_allocators(const std::vector<std::string>& names,
                                          std::size_t limit) {
  const std::set<std::string_view> known(names.begin(), names.end());
  std::vector<std::string> pairs;
  for (const std::string_view name : known) {
    if (pairs.size() == limit) break;
    if (name.starts_with("_Z") || is_allocator_function(name)) continue;
    for (const std::string_view suffix : {"malloc", "alloc"}) {
      if (!name.ends_with(suffix)) continue;
      const std::string prefix(name.substr(0, name.size() - suffix.size()));
      if (!known.contains(prefix + "free")) continue;
      pairs.push_back(fmt::format("{} and {}free", name, prefix));
      break;
    }
  }
  return pairs;
}

std::vector<std::string> guess_allocators_of(const model::ProcessImage& process) {
  constexpr std::size_t kMost = 5;
  std::vector<std::string> guesses;
  std::set<model::FileId> seen;
  for (const bool program : {true, false}) {
    for (const model::Mapping& mapping : process.mappings) {
      if (!mapping.executable || mapping.file.inode == 0) continue;
      if ((mapping.path == process.exe) != program || !seen.insert(mapping.file).second) continue;
      auto file = open_mapped_file(model::mapped_file(process.pid, mapping));
      auto image = file ? open_image(*file, mapping.path) : std::unexpected(file.error());
      if (!image) continue;
      const auto table = image->select_functions(
          [](std::string_view name) { return name.ends_with("alloc") || name.ends_with("free"); });
      if (!table) continue;
      std::vector<std::string> names;
      for (const elf::Symbol& symbol : table->all()) names.emplace_back(symbol.name);
      const std::string module = mapping.path.substr(mapping.path.rfind('/') + 1);
      for (const std::string& pair : guess_allocators(names, kMost - guesses.size()))
        guesses.push_back(fmt::format("{} ({})", pair, module));
    }
  }
  return guesses;
}

bool is_allocator_function(std::string_view name) {
  return allocator_functions().contains(name);
}

std::vector<FoundFamily> find_families(std::string_view path, const elf::SymbolTable& functions) {
  std::vector<FoundFamily> found;
  bool unprefixed = false;
  for (std::size_t index = 0; index < allocators().size(); ++index) {
    const Allocator& row = allocators()[index];
    if (!is_of(row, path, functions)) continue;
    if (row.families.empty()) return {};
    for (const SymbolFamily& family : row.families) {
      if ((family.prefix.empty() && unprefixed) || !has_family(family, functions)) continue;
      unprefixed |= family.prefix.empty();
      found.push_back({index, &family});
    }
  }
  return found;
}

Result<const FileFindings*> AllocatorFinder::look_into(const UniqueFd& file,
                                                       std::string_view path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return fail_errno(errno, "{}", path);
  Key key;
  key.device = status.st_dev;
  key.inode = status.st_ino;
  key.size_bytes = static_cast<uint64_t>(status.st_size);
  key.modified_ns = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
  key.path = path;
  auto known = seen_.find(key);
  if (known == seen_.end()) {
    known = seen_.emplace(std::move(key), read_findings(file, path)).first;
  }
  if (!known->second) return std::unexpected(known->second.error());
  return &*known->second;
}

Result<elf::Image> open_image(const UniqueFd& file, std::string_view name) {
  UniqueFd copy(::fcntl(file.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return fail_errno(errno, "cannot keep {} open", name);
  return elf::Image::open(std::move(copy), name);
}

}  // namespace tidemark::sources
