// SPDX-License-Identifier: Apache-2.0
#include "sources/heap_probes.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "elf/image.h"
#include "support/target_file.h"

namespace tidemark::sources {
namespace {

struct Library {
  std::size_t allocator = 0;
  const model::Mapping* mapping = nullptr;
};

std::vector<Library> find_libraries(const model::ProcessImage& process) {
  std::vector<Library> found;
  for (const model::Mapping& mapping : process.mappings) {
    if (!mapping.executable || mapping.file.inode == 0) continue;
    for (std::size_t index = 0; index < allocators().size(); ++index) {
      if (!is_library_of(allocators()[index], mapping.path)) continue;
      const bool known = std::ranges::any_of(
          found, [&](const Library& other) { return other.mapping->file == mapping.file; });
      if (!known) found.push_back({index, &mapping});
    }
  }
  return found;
}

bool defines_function(elf::Image& image, std::string_view name) {
  const auto found = image.find(name);
  return found && !found->empty();
}

// What may be where the allocations of this process really go: a preloaded or linked library, or
// the program itself.
std::vector<std::string> find_unknown_allocators(const model::ProcessImage& process) {
  std::vector<std::string> unknown;
  std::set<model::FileId> seen;
  for (const model::Mapping& mapping : process.mappings) {
    if (!mapping.executable || mapping.file.inode == 0 || !seen.insert(mapping.file).second)
      continue;
    const bool known = std::ranges::any_of(
        allocators(), [&](const Allocator& row) { return is_library_of(row, mapping.path); });
    if (known) continue;
    auto file = open_mapped_file(model::mapped_file(process.pid, mapping));
    if (!file) continue;
    auto image = elf::Image::open(std::move(*file), mapping.path);
    if (image && defines_function(*image, "malloc") && defines_function(*image, "free")) {
      unknown.push_back(mapping.path);
    }
  }
  return unknown;
}

elf::ProbeNeeds needs_of(const ShapeTraits& traits) {
  elf::ProbeNeeds needs;
  for (uint32_t argument = 0; argument < traits.arguments; ++argument)
    needs.arguments.set(argument);
  if (traits.allocates) needs.return_probe = elf::ReturnProbe::kSharesSite;
  if (traits.null_is_nothing) needs.null_calls = elf::NullCalls::kUninteresting;
  return needs;
}

Result<HeapProbe> plan_symbol(elf::Image& image, const AllocatorSymbol& symbol, SiteChoice choice) {
  const auto definitions = image.find(symbol.symbol);
  if (!definitions) return std::unexpected(definitions.error());
  if (definitions->empty()) return fail("the library has no function of this name");
  const elf::Symbol& function = definitions->front();
  auto site = choice == SiteChoice::kEntry
                  ? elf::entry_probe_site(image, function)
                  : elf::choose_probe_site(image, function, needs_of(shape_traits(symbol.shape)));
  if (!site) return std::unexpected(site.error());
  const auto offset = image.to_file_offset(elf::Vaddr{function.value.value + site->offset_bytes});
  if (!offset) return fail("the function lies outside the file");
  HeapProbe probe;
  probe.symbol = symbol;
  probe.offset = *offset;
  probe.site = std::move(*site);
  return probe;
}

// Adds the probes of the file that was added last.
void plan_library(std::size_t allocator, elf::Image& image, SiteChoice choice,
                  HeapProbePlan& plan) {
  const std::size_t file = plan.files.size() - 1;
  for (const AllocatorSymbol& symbol : allocators()[allocator].symbols) {
    auto probe = plan_symbol(image, symbol, choice);
    if (!probe) {
      plan.absent.push_back({allocator, symbol, probe.error().text});
      continue;
    }
    probe->allocator = allocator;
    probe->file = file;
    const auto twin = std::ranges::find_if(plan.probes, [&](const HeapProbe& other) {
      return other.file == file && other.offset == probe->offset;
    });
    if (twin != plan.probes.end() && twin->symbol.shape != symbol.shape) {
      plan.absent.push_back(
          {allocator, symbol,
           fmt::format("lies where {} does, which is called in another way", twin->symbol.symbol)});
      continue;
    }
    if (twin != plan.probes.end()) probe->shared_with = twin->symbol.symbol;
    plan.probes.push_back(std::move(*probe));
  }
}

// For image and plan, which each own one.
Result<UniqueFd> same_file(const UniqueFd& file) {
  UniqueFd copy(::fcntl(file.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return fail_errno(errno, "cannot keep a file open");
  return copy;
}

Status require_symbols(const HeapProbePlan& plan) {
  for (const AbsentSymbol& absent : plan.absent) {
    if (absent.symbol.need == Need::kRequired) {
      return fail("{} has no usable {}: {}", allocators()[absent.allocator].name,
                  absent.symbol.symbol, absent.reason);
    }
  }
  return {};
}

}  // namespace

std::string hook_name(std::size_t allocator, std::string_view symbol) {
  return fmt::format("{} {}", allocators()[allocator].name, symbol);
}

Result<HeapProbePlan> plan_heap_probes(const model::ProcessImage& process, SiteChoice choice) {
  const std::vector<Library> libraries = find_libraries(process);
  HeapProbePlan plan;
  plan.unknown_allocators = find_unknown_allocators(process);
  if (libraries.empty()) {
    return fail(
        "process {} ({}) maps no allocator that tidemark knows (glibc's libc.so.6): it is linked "
        "statically or uses"
        " another C library; see its libraries with: grep r-xp /proc/{}/maps",
        process.pid.value, process.comm, process.pid.value);
  }
  for (const Library& library : libraries) {
    const model::Mapping& mapping = *library.mapping;
    const std::string intent = fmt::format("cannot look into {}", mapping.path);
    auto file = open_mapped_file(model::mapped_file(process.pid, mapping));
    if (!file) return within(intent, file.error());
    auto copy = same_file(*file);
    if (!copy) return within(intent, copy.error());
    auto image = elf::Image::open(std::move(*copy), mapping.path);
    if (!image) return within(intent, image.error());
    plan.files.push_back({mapping.path, mapping, std::move(*file)});
    plan_library(library.allocator, *image, choice, plan);
  }
  if (auto complete = require_symbols(plan); !complete) return std::unexpected(complete.error());
  return plan;
}

}  // namespace tidemark::sources
