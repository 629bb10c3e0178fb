// SPDX-License-Identifier: Apache-2.0
#include "sources/heap_probes.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <set>

#include "elf/code_map.h"
#include "elf/elf_class.h"
#include "elf/image.h"
#include "elf/return_sites.h"
#include "support/target_file.h"

namespace tidemark::sources {
namespace {

elf::ProbeNeeds needs_of(const AllocatorSymbol& symbol, SiteChoice choice) {
  const ShapeTraits& traits = shape_traits(symbol.shape);
  elf::ProbeNeeds needs;
  if (choice == SiteChoice::kCheapestWithLongNops) needs.long_nops = elf::LongNops::kEmulated;
  for (uint32_t argument = 0; argument < traits.arguments; ++argument)
    needs.arguments.set(argument);
  if (traits.allocates && symbol.exceptions == Exceptions::kNone)
    needs.return_probe = elf::ReturnProbe::kSharesSite;
  if (traits.null_is_nothing) needs.null_calls = elf::NullCalls::kUninteresting;
  return needs;
}

// One probe may serve both: the same program, or two that free one block.
bool same_way(const AllocatorSymbol& left, const AllocatorSymbol& right) {
  const ShapeTraits &one = shape_traits(left.shape), &other = shape_traits(right.shape);
  return one.program == other.program || (one.null_is_nothing && other.null_is_nothing);
}

// What lies between two functions of an allocator that are this near is the allocator's too: all of
// glibc's come from one source file, as do jemalloc's and mimalloc's. Before and behind them lie
// static functions that they were split into.
constexpr uint64_t kNearBytes = 16 * 1024;
constexpr uint64_t kAroundBytes = 1024;

// Sets the own code of the probes from `first` on, all of one file.
void note_own_code(std::vector<HeapProbe>& probes, std::size_t first) {
  std::vector<HeapProbe*> ordered;
  for (std::size_t at = first; at < probes.size(); ++at) ordered.push_back(&probes[at]);
  std::ranges::sort(ordered, {}, [](const HeapProbe* probe) { return probe->body.begin_bytes; });
  for (std::size_t begin = 0, end = 0; begin < ordered.size(); begin = end) {
    FileRange range = ordered[begin]->body;
    for (end = begin + 1; end < ordered.size(); ++end) {
      const FileRange& next = ordered[end]->body;
      if (next.begin_bytes > range.end_bytes + kNearBytes) break;
      range.end_bytes = std::max(range.end_bytes, next.end_bytes);
    }
    range.begin_bytes -= std::min(range.begin_bytes, kAroundBytes);
    range.end_bytes += kAroundBytes;
    for (std::size_t at = begin; at < end; ++at) ordered[at]->own = range;
  }
}

// The probes of one file, family by family, into a plan.
class FilePlanner {
 public:
  FilePlanner(elf::Image image, elf::CodeMap code, const FileFindings& findings, bool is_program,
              SiteChoice choice, HeapProbePlan& plan)
      : image_(std::move(image)),
        code_(std::move(code)),
        findings_(findings),
        is_static_program_(is_program && !image_.interpreter()),
        choice_(choice),
        plan_(plan),
        file_(plan.files.size() - 1) {}

  void run() {
    const std::size_t first = plan_.probes.size();
    for (const FoundFamily& found : findings_.families) plan_family(found);
    note_own_code(plan_.probes, first);
    for (const elf::UsdtProbe& usdt : findings_.usdt) plan_usdt(usdt);
    for (const std::string_view hook : {kMakesException, kLibrariesChanged}) plan_hook(hook);
  }

 private:
  // All of them, or none where a required one is missing: half an allocator gives wrong figures.
  void plan_family(const FoundFamily& found) {
    const std::size_t before = plan_.probes.size();
    bool complete = true;
    for (const auto& table : found.family->tables) {
      for (const AllocatorSymbol& symbol : table) {
        const bool planned = plan_symbol(found, symbol);
        complete &= planned || symbol.need != Need::kRequired;
      }
    }
    if (complete) return;
    plan_.probes.erase(plan_.probes.begin() + static_cast<std::ptrdiff_t>(before),
                       plan_.probes.end());
  }

  // False if the function gets no probe and shares none.
  bool plan_symbol(const FoundFamily& found, const AllocatorSymbol& symbol) {
    HeapProbe probe;
    probe.allocator = found.allocator;
    probe.symbol = symbol;
    probe.function = std::string(found.family->prefix) + std::string(symbol.symbol);
    probe.file = file_;
    const auto definitions = findings_.functions.find(probe.function);
    if (definitions.empty()) {
      // Linked with what it calls, and no more.
      if (is_static_program_) return true;
      if (symbol.need != Need::kIfThere)
        leave_out(probe, model::HookState::kMissing, "the library has no function of this name");
      return false;
    }
    const Status placed = place(definitions.front(), probe);
    if (!placed) {
      leave_out(probe, model::HookState::kOff, placed.error().text);
      return false;
    }
    plan_.probes.push_back(std::move(probe));
    return true;
  }

  [[nodiscard]] Status place(const elf::Symbol& function, HeapProbe& probe) {
    const AllocatorSymbol& symbol = probe.symbol;
    auto site = choice_ == SiteChoice::kEntry
                    ? elf::entry_probe_site(image_, function)
                    : elf::choose_probe_site(image_, function, needs_of(symbol, choice_));
    if (!site) return std::unexpected(site.error());
    const auto offset =
        image_.to_file_offset(elf::Vaddr{function.value.value + site->offset_bytes});
    if (!offset) return fail("the function lies outside the file");
    probe.offset = *offset;
    const uint64_t begin = offset->value - site->offset_bytes;
    probe.body = {begin, begin + function.size_bytes};
    probe.site = std::move(*site);
    const auto twin = std::ranges::find_if(plan_.probes, [&](const HeapProbe& other) {
      return other.file == file_ && other.offset == probe.offset;
    });
    if (twin != plan_.probes.end()) {
      if (!same_way(twin->symbol, symbol))
        return fail("lies where {} does, which is called in another way", twin->function);
      probe.shared_with = twin->function;
      return {};
    }
    const std::string behind = elf::jumps_at_once_to(image_, code_, function);
    if (behind != probe.function && is_allocator_function(behind)) {
      probe.shared_with = behind;
      return {};
    }
    return symbol.exceptions == Exceptions::kMayThrow ? find_leaves(function, probe) : Status{};
  }

  [[nodiscard]] Status find_leaves(const elf::Symbol& function, HeapProbe& probe) {
    const auto returns = elf::find_return_sites(image_, code_, function);
    if (!returns)
      return within("an exception may pass it, so that it can have no return probe",
                    returns.error());
    for (const elf::Vaddr site : returns->sites) {
      const auto offset = image_.to_file_offset(site);
      if (!offset) return fail("a return instruction lies outside the file");
      probe.leaves.push_back(*offset);
    }
    return {};
  }

  // A place that the program's author marked; there may be several of a name.
  void plan_usdt(const elf::UsdtProbe& usdt) {
    const bool allocates = usdt.name == "alloc";
    if (!allocates && usdt.name != "free") return;
    HeapProbe probe;
    probe.allocator = otel_allocator();
    probe.symbol = {allocates ? "alloc" : "free",
                    allocates ? CallShape::kUsdtAlloc : CallShape::kUsdtFree, Need::kIfThere};
    probe.function = usdt.name;
    probe.file = file_;
    probe.offset = usdt.offset;
    probe.site.verdict = "a USDT probe";
    probe.semaphore = usdt.semaphore;
    const auto arguments = elf::parse_usdt_arguments(usdt.arguments);
    if (!arguments || arguments->size() != (allocates ? 3 : 1)) {
      return leave_out(
          probe, model::HookState::kOff,
          fmt::format("its arguments are '{}', which tidemark cannot read", usdt.arguments));
    }
    probe.arguments = *arguments;
    plan_.probes.push_back(std::move(probe));
  }

  void plan_hook(std::string_view name) {
    const auto definitions = findings_.functions.find(name);
    if (definitions.empty()) return;
    const auto offset = image_.to_file_offset(definitions.front().value);
    if (offset) plan_.hooks.push_back({name, file_, *offset});
  }

  void leave_out(const HeapProbe& probe, model::HookState state, std::string reason) {
    plan_.absent.push_back(
        {probe.allocator, probe.symbol, probe.function, state, std::move(reason)});
  }

  elf::Image image_;
  elf::CodeMap code_;
  const FileFindings& findings_;
  bool is_static_program_;
  SiteChoice choice_;
  HeapProbePlan& plan_;
  std::size_t file_;
};

bool matters(const FileFindings& findings) {
  return !findings.families.empty() || !findings.usdt.empty() ||
         !findings.functions.find(kMakesException).empty() ||
         !findings.functions.find(kLibrariesChanged).empty();
}

bool is_known_library(std::string_view path) {
  return std::ranges::any_of(allocators(),
                             [&](const Allocator& row) { return is_library_of(row, path); });
}

// Files that cannot be opened or are no ELF are passed over, but for those that must hold an
// allocator.
Status plan_file(const model::ProcessImage& process, const model::Mapping& mapping,
                 SiteChoice choice, AllocatorFinder& finder, HeapProbePlan& plan) {
  const std::string intent = fmt::format("cannot look into {}", mapping.path);
  const auto unless_known = [&](const Error& error) -> Status {
    if (is_known_library(mapping.path)) return within(intent, error);
    return {};
  };
  auto file = open_mapped_file(model::mapped_file(process.pid, mapping));
  if (!file) return unless_known(file.error());
  const auto findings = finder.look_into(*file, mapping.path);
  if (!findings) return unless_known(findings.error());
  if (!matters(**findings)) return {};
  auto image = open_image(*file, mapping.path);
  if (!image) return within(intent, image.error());
  auto code = elf::CodeMap::open(*image);
  if (!code) return within(intent, code.error());
  plan.files.push_back({mapping.path, mapping, std::move(*file)});
  const bool is_program = mapping.path == process.exe;
  FilePlanner(std::move(*image), std::move(*code), **findings, is_program, choice, plan).run();
  return {};
}

// The kernel would set the probes, and every argument would be read out of a wrong place.
Status refuse_32_bit(const model::ProcessImage& process) {
  const auto program = std::ranges::find_if(process.mappings, [&](const model::Mapping& mapping) {
    return mapping.executable && mapping.path == process.exe;
  });
  if (program == process.mappings.end()) return {};
  const auto file = open_mapped_file(model::mapped_file(process.pid, *program));
  if (!file || !elf::is_32_bit(*file)) return {};
  return fail(
      "process {} ({}) is a 32-bit program, and tidemark knows the calls of 64-bit code only: give "
      "it "
      "a 64-bit build of it",
      process.pid.value, process.comm);
}

// What is there in place of an allocator.
Error no_allocator(const model::ProcessImage& process, const HeapProbePlan& plan,
                   AllocatorFinder& finder) {
  for (const AbsentSymbol& absent : plan.absent) {
    if (absent.symbol.need != Need::kRequired) continue;
    return fail("process {} ({}): {} has no usable {}: {}", process.pid.value, process.comm,
                allocators()[absent.allocator].name, absent.function, absent.reason)
        .error();
  }
  for (const model::Mapping& mapping : process.mappings) {
    if (!mapping.executable || mapping.path != process.exe) continue;
    const auto file = open_mapped_file(model::mapped_file(process.pid, mapping));
    if (!file) continue;
    const auto findings = finder.look_into(*file, mapping.path);
    if (!findings) return within(mapping.path, findings.error()).error();
    if ((*findings)->has_functions) continue;
    return fail(
               "process {} ({}) maps no allocator that tidemark knows, and {} is stripped: a "
               "static "
               "program's allocator is found by its symbols; trace a build that still has them",
               process.pid.value, process.comm, mapping.path)
        .error();
  }
  return fail(
             "process {} ({}) maps no allocator that tidemark knows: none of its files has a "
             "function called malloc; see them with: grep r-xp /proc/{}/maps",
             process.pid.value, process.comm, process.pid.value)
      .error();
}

}  // namespace

SiteChoice cheapest_sites(const kernel::Facts& facts) {
  if (!facts.emulated_jumps.present) return SiteChoice::kEntry;
  return facts.emulated_long_nops.present ? SiteChoice::kCheapestWithLongNops
                                          : SiteChoice::kCheapest;
}

void leave_out_usdt(HeapProbePlan& plan, std::string_view why) {
  const auto gone = std::ranges::stable_partition(plan.probes, [](const HeapProbe& probe) {
    const CallShape shape = probe.symbol.shape;
    return shape != CallShape::kUsdtAlloc && shape != CallShape::kUsdtFree;
  });
  for (const HeapProbe& probe : gone) {
    plan.absent.push_back(
        {probe.allocator, probe.symbol, probe.function, model::HookState::kOff, std::string(why)});
  }
  plan.probes.erase(gone.begin(), gone.end());
}

std::string hook_name(std::size_t allocator, std::string_view function) {
  int status = 0;
  const std::string mangled(function);
  const std::unique_ptr<char, decltype(&std::free)> plain(
      function.starts_with("_Z") ? abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status)
                                 : nullptr,
      std::free);
  return fmt::format("{} {}", allocators()[allocator].name, plain ? plain.get() : mangled.c_str());
}

Result<HeapProbePlan> plan_files(const model::ProcessImage& process, SiteChoice choice,
                                 AllocatorFinder& finder, const FileFilter& wanted) {
  HeapProbePlan plan;
  std::set<model::FileId> seen;
  for (const model::Mapping& mapping : process.mappings) {
    if (!mapping.executable || mapping.file.inode == 0 || (wanted && !wanted(mapping))) continue;
    if (!seen.insert(mapping.file).second) continue;
    if (auto planned = plan_file(process, mapping, choice, finder, plan); !planned)
      return std::unexpected(planned.error());
  }
  return plan;
}

Result<HeapProbePlan> plan_heap_probes(const model::ProcessImage& process, SiteChoice choice,
                                       AllocatorFinder& finder) {
  if (auto fits = refuse_32_bit(process); !fits) return std::unexpected(fits.error());
  auto plan = plan_files(process, choice, finder);
  if (!plan) return plan;
  if (plan->probes.empty()) return std::unexpected(no_allocator(process, *plan, finder));
  return plan;
}

}  // namespace tidemark::sources
