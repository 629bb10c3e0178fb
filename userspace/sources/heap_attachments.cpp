// SPDX-License-Identifier: Apache-2.0
#include "sources/heap_attachments.h"

#include <asm/ptrace.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <utility>

#include "bpf/abi/heap.h"
#include "bpfrt/map.h"
#include "sources/allocators.h"

namespace tidemark::sources {
namespace {

constexpr std::string_view kReturnProgram = "heap_return";
constexpr std::string_view kLeaveProgram = "heap_leave";
constexpr std::string_view kThrowProgram = "heap_throw";
constexpr std::string_view kLibraryProgram = "heap_library";

uint64_t encode_cookie(uint16_t probe, const HeapProbe& planned) {
  tm_cookie cookie{};
  cookie.probe = probe;
  cookie.allocator = static_cast<uint16_t>(planned.allocator);
  if (shape_traits(planned.symbol.shape).aligned) cookie.allocator |= TM_ALLOCATOR_ALIGNED;
  cookie.stack_words = static_cast<uint8_t>(planned.site.stack_bytes / 8);
  cookie.flags = TM_COOKIE_VALID;
  if (!planned.leaves.empty()) cookie.flags |= TM_COOKIE_BARE;
  for (std::size_t n = 0; n < planned.site.moved.size(); ++n) {
    cookie.argument_registers |= static_cast<uint16_t>(planned.site.moved[n] << (4 * n));
  }
  return std::bit_cast<uint64_t>(cookie);
}

std::string reach(const HeapProbePlan& plan, std::size_t file) {
  return fmt::format("/proc/{}/fd/{}", ::getpid(), plan.files[file].descriptor.get());
}

// In struct pt_regs, by DWARF's number of the register.
uint16_t register_offset(uint32_t number) {
#if defined(__x86_64__)
  constexpr std::array<std::size_t, 16> kOffsets = {
      offsetof(pt_regs, rax), offsetof(pt_regs, rdx), offsetof(pt_regs, rcx),
      offsetof(pt_regs, rbx), offsetof(pt_regs, rsi), offsetof(pt_regs, rdi),
      offsetof(pt_regs, rbp), offsetof(pt_regs, rsp), offsetof(pt_regs, r8),
      offsetof(pt_regs, r9),  offsetof(pt_regs, r10), offsetof(pt_regs, r11),
      offsetof(pt_regs, r12), offsetof(pt_regs, r13), offsetof(pt_regs, r14),
      offsetof(pt_regs, r15)};
  return static_cast<uint16_t>(kOffsets.at(number));
#else
  return static_cast<uint16_t>(number * sizeof(uint64_t));
#endif
}

tm_usdt_argument to_record(const elf::UsdtArgument& argument) {
  tm_usdt_argument record{};
  record.value = argument.value;
  record.size_bytes = static_cast<uint8_t>(argument.size_bytes);
  record.is_signed = argument.is_signed ? 1 : 0;
  using Place = elf::UsdtArgument::Place;
  if (argument.place == Place::kConstant) return record;
  record.place = argument.place == Place::kMemory ? TM_PLACE_MEMORY : TM_PLACE_REGISTER;
  record.register_offset = register_offset(argument.register_number);
  return record;
}

void add_point(std::map<uint64_t, bpfrt::UprobePoint>& places, const bpfrt::UprobePoint& point) {
  places.emplace(point.file_offset_bytes, point);
}

}  // namespace

// By file and program, so that a uprobe_multi link takes as many as it can; in the order in which
// they are attached: no call is to begin whose end is not seen.
struct HeapAttachments::Points {
  using Places = std::map<uint64_t, bpfrt::UprobePoint>;  // by the offset in the file
  std::map<std::string, Places> returns;
  std::map<std::pair<std::string, std::string_view>, Places> inner;
  std::map<std::pair<std::string, std::string_view>, Places> entries;
  std::map<std::pair<std::string, std::string>, Places> sessions;
};

Status HeapAttachments::attach(const model::ProcessImage& image, model::Generation generation,
                               bool counting) {
  const auto plan = plan_for(image);
  if (!plan) return std::unexpected(plan.error());
  const auto attached = attach_new(image, generation, *plan);
  if (!attached) return std::unexpected(attached.error());
  if (*attached > 0 && counting) ++late_probes_;
  note_coverage(*plan);
  note_files(image, generation);
  return {};
}

Status HeapAttachments::follow(const model::ProcessImage& image, const GenerationState& state,
                               bool counting) {
  if (reach_ == Reach::kSelected) {
    end_shares(image.pid);
    // Lost ones come to life again beside new ones at the same place, and would count everything
    // twice.
    if (state.probes_lost) keeper_.detach(take_links(image.pid));
  }
  return attach(image, state.generation, counting);
}

// A file that was looked into for another process needs no second look where its probes serve all.
FileFilter HeapAttachments::not_looked_into() const {
  if (reach_ == Reach::kSelected) return nullptr;
  return
      [this](const model::Mapping& mapping) { return !known_to_everybody_.contains(mapping.file); };
}

bool HeapAttachments::is_served(const model::ProcessImage& image) const {
  return std::ranges::any_of(image.mappings, [&](const model::Mapping& mapping) {
    return mapping.executable && has_probes(kEverybody, mapping.file);
  });
}

Result<HeapProbePlan> HeapAttachments::plan_for(const model::ProcessImage& image) {
  auto plan = reach_ == Reach::kSelected || !is_served(image)
                  ? plan_heap_probes(image, choice_, finder_)
                  : plan_files(image, choice_, finder_, not_looked_into());
  if (plan && (sampling_ || throttled_)) {
    leave_out_usdt(*plan,
                   "where blocks are sampled it is not known which of those that it tells of are "
                   "counted at the allocator already; --exact has it");
  }
  return plan;
}

void HeapAttachments::find_candidates() {
  for (const Collected::Use& use : read_uses()) {
    const bool hit = std::ranges::any_of(
        use.allocators, [](const auto& allocator) { return allocator.hits.value_or(1) > 0; });
    const auto image = images_.find(use.generation);
    if (hit || image == images_.end()) continue;
    candidates_[use.generation] = guess_allocators_of(image->second);
  }
}

void HeapAttachments::note_files(const model::ProcessImage& image, model::Generation generation) {
  images_[generation] = image;
  std::set<model::FileId>& files = looked_into_[generation];
  for (const model::Mapping& mapping : image.mappings) {
    if (!mapping.executable || mapping.file.inode == 0) continue;
    files.insert(mapping.file);
    if (reach_ == Reach::kMachine) known_to_everybody_.insert(mapping.file);
  }
}

void HeapAttachments::learn(const model::ProcessImage& image, model::Generation generation,
                            bool counting) {
  const auto known = looked_into_.find(generation);
  if (known == looked_into_.end() || detached_) return;
  const auto is_new = [before = known->second](const model::Mapping& mapping) {
    return mapping.executable && mapping.file.inode != 0 && !before.contains(mapping.file);
  };
  if (std::ranges::none_of(image.mappings, is_new)) return;
  const auto plan = plan_files(image, choice_, finder_,
                               [&, unknown = not_looked_into()](const model::Mapping& mapping) {
                                 return is_new(mapping) && (!unknown || unknown(mapping));
                               });
  note_files(image, generation);
  const auto attached = plan ? attach_new(image, generation, *plan) : std::unexpected(plan.error());
  if (!attached) {
    add_coverage({fmt::format("libraries loaded later by process {}", image.pid.value),
                  model::HookState::kMissing, attached.error().text});
    return;
  }
  if (plan->files.empty() && reach_ == Reach::kSelected) return;
  if (*attached > 0 && counting) ++late_probes_;
  note_coverage(*plan);
}

// What comes to be counted by the probes of this process is another generation's from here on.
void HeapAttachments::end_shares(model::Pid pid) {
  for (auto& [generation, shares] : shares_) {
    for (Share& share : shares) {
      if (placed_[share.probe].pid != pid || share.hits_at_end) continue;
      share.hits_at_end = hits_of(share.probe);
    }
  }
}

// A process of this pid that came since has probes of its own, and a generation behind this one.
void HeapAttachments::release(const GenerationState& state) {
  forget(state.generation);
  if (reach_ == Reach::kMachine) return;
  const bool is_newest = std::ranges::all_of(shares_, [&](const auto& entry) {
    const auto& [generation, shares] = entry;
    return generation <= state.generation || shares.empty() ||
           placed_[shares.front().probe].pid != state.pid;
  });
  if (!is_newest) return;
  end_shares(state.pid);
  keeper_.detach_later(take_links(state.pid));
}

// Its room in the tables is another one's.
void HeapAttachments::forget(model::Generation generation) {
  if (reach_ == Reach::kSelected) return;
  images_.erase(generation);
  looked_into_.erase(generation);
  for (const Share& share : shares_[generation])
    bpfrt::erase(maps_.allocator_text, tm_text_key{generation.value, share.probe});
}

void HeapAttachments::detach() {
  detached_ = true;
  detach_links();
}

void HeapAttachments::pause() {
  paused_ = true;
  detach_links();
}

// A process that has ended meanwhile is no fault; one that lives without its probes is told.
void HeapAttachments::resume() {
  paused_ = false;
  std::erase_if(placements_, [this](const Placement& placement) {
    const auto attached = attach_placement(placement);
    if (attached) return false;
    const model::Pid pid{placement.target.pid};
    if (::kill(pid.value, 0) == 0)
      add_coverage({fmt::format("probes of process {} in a further window", pid.value),
                    model::HookState::kMissing, attached.error().text});
    return true;
  });
  count_processes();
}

void HeapAttachments::detach_links() {
  // What begins with a call goes first, a session with it: the target pays until it is gone.
  std::vector<bpfrt::ProbeLink> entries, returns;
  for (const Attached& attached : links_) {
    (attached.end == bpfrt::ProbeEnd::kReturn ? returns : entries).push_back(attached.link);
  }
  links_.clear();
  keeper_.detach(entries);
  keeper_.detach(returns);
}

std::vector<bpfrt::ProbeLink> HeapAttachments::take_links(model::Pid pid) {
  std::vector<bpfrt::ProbeLink> taken;
  for (const Attached& attached : links_) {
    if (attached.pid == pid) taken.push_back(attached.link);
  }
  std::erase_if(links_, [&](const Attached& attached) { return attached.pid == pid; });
  std::erase_if(placements_,
                [&](const Placement& placement) { return placement.target.pid == pid.value; });
  count_processes();
  for (uint32_t index = 0; index < placed_.size(); ++index) {
    if (placed_[index].pid == pid) lost_.insert(index);
  }
  std::erase_if(hooked_, [pid](const auto& hook) { return hook.first == pid; });
  bare_.erase(pid);
  return taken;
}

bool HeapAttachments::has_probes(model::Pid pid, const model::FileId& file) const {
  for (uint32_t index = 0; index < placed_.size(); ++index) {
    const Placed& placed = placed_[index];
    if (placed.pid == pid && placed.file == file && !lost_.contains(index)) return true;
  }
  return false;
}

// A busy process calls its allocator as soon as the probes are there: what BPF is to know of it
// goes before them.
Result<uint64_t> HeapAttachments::attach_new(const model::ProcessImage& image,
                                             model::Generation generation,
                                             const HeapProbePlan& plan) {
  Points points;
  const std::size_t before = placed_.size();
  std::vector<bool> wanted;
  const model::Pid holder = holder_of(image);
  for (const ProbedFile& file : plan.files) {
    wanted.push_back(!has_probes(holder, file.mapping.file));
  }
  if (auto placed = place_probes(holder, plan, wanted, points); !placed)
    return std::unexpected(placed.error());
  note_addresses(image, generation);
  place_hooks(holder, plan, points);
  if (auto attached = attach_all(holder, points); !attached)
    return std::unexpected(attached.error());
  count_processes();
  return placed_.size() - before;
}

Status HeapAttachments::place_probes(model::Pid pid, const HeapProbePlan& plan,
                                     const std::vector<bool>& wanted, Points& points) {
  const bool carried = plan_.cookies == kernel::Cookies::kAttached;
  for (const HeapProbe& probe : plan.probes) {
    if (!probe.shared_with.empty() || !wanted[probe.file]) continue;
    if (placed_.size() >= TM_MAX_PROBES) {
      return fail("more than {} probes in one run: trace fewer processes at a time", TM_MAX_PROBES);
    }
    const ProbedFile& file = plan.files[probe.file];
    const ShapeTraits& traits = shape_traits(probe.symbol.shape);
    const std::string path = path_of(plan, probe.file);
    const uint64_t cookie = encode_cookie(static_cast<uint16_t>(placed_.size()), probe);
    const uint64_t semaphore = probe.semaphore ? probe.semaphore->value : 0;
    const bool returns = traits.allocates && probe.leaves.empty();
    std::string program(traits.program);
    if (returns && plan_.sessions) program += kSessionSuffix;
    if (!probe.site.emulated) stepped_.insert(program);
    if (!probe.leaves.empty()) stepped_.emplace(kLeaveProgram);  // return instructions
    if (returns && plan_.sessions) {
      add_point(points.sessions[{path, program}], {probe.offset.value, cookie});
    } else {
      add_point(points.entries[{path, traits.program}],
                {probe.offset.value, carried ? cookie : 0, semaphore});
      if (returns) add_point(points.returns[path], {probe.offset.value});
    }
    for (const elf::FileOffset leave : probe.leaves)
      add_point(points.inner[{path, kLeaveProgram}], {leave.value});
    if (auto noted = note_arguments(probe); !noted) return noted;
    if (!probe.leaves.empty()) bare_.insert(pid);
    placed_.push_back({pid, file.mapping.file, probe.allocator, file.module, probe.offset.value,
                       probe.own, cookie});
  }
  return {};
}

// Of the probe that is the next to be placed.
Status HeapAttachments::note_arguments(const HeapProbe& probe) {
  if (probe.arguments.empty()) return {};
  tm_usdt record{};
  for (std::size_t at = 0; at < probe.arguments.size(); ++at)
    record.arguments[at] = to_record(probe.arguments[at]);
  return bpfrt::put(maps_.usdt_arguments, static_cast<uint32_t>(placed_.size()), record);
}

// Exceptions matter only where a function is probed that one may pass; in which processes that will
// be is not known where the probes serve all.
void HeapAttachments::place_hooks(model::Pid pid, const HeapProbePlan& plan, Points& points) {
  std::set<std::pair<model::Pid, model::FileId>> hooked;
  for (const RuntimeHook& hook : plan.hooks) {
    const std::pair where{pid, plan.files[hook.file].mapping.file};
    const bool throws = hook.function == kMakesException;
    const bool needed = !throws || pid == kEverybody || bare_.contains(pid);
    if (hooked_.contains(where) || !needed) continue;
    add_point(points.inner[{path_of(plan, hook.file), throws ? kThrowProgram : kLibraryProgram}],
              {hook.offset.value});
    hooked.insert(where);
  }
  hooked_.merge(hooked);
}

Status HeapAttachments::attach_all(model::Pid pid, const Points& points) {
  const auto attach = [&](const std::string& path, std::string_view program, bpfrt::ProbeEnd end,
                          const Points::Places& places) {
    std::vector<bpfrt::UprobePoint> list;
    for (const auto& [offset, point] : places) list.push_back(point);
    return attach_points(program, end, {path, pid.value}, list);
  };
  for (const auto& [path, places] : points.returns) {
    if (auto done = attach(path, kReturnProgram, bpfrt::ProbeEnd::kReturn, places); !done)
      return done;
  }
  for (const auto& [key, places] : points.sessions) {
    if (auto done = attach(key.first, key.second, bpfrt::ProbeEnd::kBoth, places); !done)
      return done;
  }
  for (const auto* group : {&points.inner, &points.entries}) {
    for (const auto& [key, places] : *group) {
      if (auto done = attach(key.first, key.second, bpfrt::ProbeEnd::kEntry, places); !done)
        return done;
    }
  }
  return {};
}

Status HeapAttachments::attach_points(std::string_view program, bpfrt::ProbeEnd end,
                                      const bpfrt::UprobeTarget& target,
                                      std::span<const bpfrt::UprobePoint> points) {
  Placement placement{std::string(program), end, target, {points.begin(), points.end()}};
  if (!paused_) {
    if (auto attached = attach_placement(placement); !attached) return attached;
  }
  if (throttled_) placements_.push_back(std::move(placement));
  return {};
}

// A path names a file, since all reach it by the descriptor that is held open.
void HeapAttachments::count_processes() {
  std::map<std::string_view, std::set<int32_t>> processes;
  std::size_t most = 1;
  for (const Placement& placement : placements_) {
    std::set<int32_t>& there = processes[placement.target.path];
    there.insert(placement.target.pid);
    most = std::max(most, there.size());
  }
  processes_a_probe_ = static_cast<uint32_t>(most);
}

Status HeapAttachments::attach_placement(const Placement& placement) {
  const bpfrt::UprobeTarget& target = placement.target;
  const bpf_program* found = bpf_object__find_program_by_name(object_, placement.program.c_str());
  const auto links = keeper_.attach(found, plan_.uprobes, placement.end, target, placement.points);
  if (!links && target.pid != kEverybody.value)
    return within(fmt::format("process {}", target.pid), links.error());
  if (!links) return std::unexpected(links.error());
  for (const bpfrt::ProbeLink link : *links) {
    links_.push_back({model::Pid{target.pid}, placement.end, link});
  }
  return {};
}

// By a descriptor of ours that stays open for as long as probes may have to be put in again.
std::string HeapAttachments::path_of(const HeapProbePlan& plan, std::size_t file) {
  if (!throttled_) return reach(plan, file);
  UniqueFd& held = held_open_[plan.files[file].mapping.file];
  if (!held.valid())
    held = UniqueFd(::fcntl(plan.files[file].descriptor.get(), F_DUPFD_CLOEXEC, 0));
  return fmt::format("/proc/{}/fd/{}", ::getpid(), held.get());
}

void HeapAttachments::add_coverage(model::Coverage row) {
  const bool known = std::ranges::any_of(coverage_, [&](const model::Coverage& other) {
    return other.hook == row.hook && other.state == row.state;
  });
  if (!known) coverage_.push_back(std::move(row));
}

void HeapAttachments::note_coverage(const HeapProbePlan& plan) {
  for (const HeapProbe& probe : plan.probes) {
    add_coverage({hook_name(probe.allocator, probe.function), model::HookState::kOn, {}});
  }
  for (const AbsentSymbol& absent : plan.absent) {
    add_coverage({hook_name(absent.allocator, absent.function), absent.state, absent.reason});
  }
}

// Where the probes of this process and the code around them lie in this generation's memory. A
// table that is full shows as unknown_probes, or as interrupting_calls in place of nested ones, in
// the report.
void HeapAttachments::note_addresses(const model::ProcessImage& image,
                                     model::Generation generation) {
  std::vector<Share>& shares = shares_[generation];
  for (uint32_t index = 0; index < placed_.size(); ++index) {
    const Placed& probe = placed_[index];
    if (probe.pid != holder_of(image) || lost_.contains(index)) continue;
    if (std::ranges::find(shares, index, &Share::probe) != shares.end()) continue;
    for (const model::Mapping& mapping : image.mappings) {
      const uint64_t start = mapping.start.value;
      const uint64_t size = mapping.end.value - start;
      const auto to_memory = [&](uint64_t file_offset_bytes) {
        return start + file_offset_bytes - mapping.file_offset_bytes;
      };
      const uint64_t within = probe.file_offset_bytes - mapping.file_offset_bytes;
      if (!mapping.executable || probe.file != mapping.file || within >= size) continue;
      (void)bpfrt::put(maps_.allocator_text, tm_text_key{generation.value, index},
                       tm_text{start, mapping.end.value, to_memory(probe.own.begin_bytes),
                               to_memory(probe.own.end_bytes)});
      if (plan_.cookies == kernel::Cookies::kByAddress) {
        const tm_probe_address key{start + within, static_cast<uint32_t>(image.pid.value), 0};
        (void)bpfrt::put(maps_.cookies_by_address, key, probe.cookie);
      }
      shares.push_back({index, hits_of(index), {}});
    }
  }
}

uint64_t HeapAttachments::hits_of(uint32_t probe) const {
  const auto slots = bpfrt::per_cpu<uint64_t>(maps_.hits, probe);
  if (!slots) return 0;
  uint64_t sum = 0;
  for (const uint64_t hits : *slots) sum += hits;
  return sum;
}

std::vector<Collected::Use> HeapAttachments::read_uses() const {
  std::vector<Collected::Use> uses;
  for (const auto& [generation, shares] : shares_) {
    std::map<std::pair<std::size_t, std::string>, model::AllocatorUse> by_module;
    for (const Share& share : shares) {
      const Placed& probe = placed_[share.probe];
      model::AllocatorUse& use = by_module[{probe.allocator, probe.module}];
      use.name = allocators()[probe.allocator].name;
      use.module = probe.module;
      ++use.probes;
      if (reach_ == Reach::kMachine) continue;
      use.hits = use.hits.value_or(0) + share.hits_at_end.value_or(hits_of(share.probe)) -
                 share.hits_before;
    }
    Collected::Use& use = uses.emplace_back();
    use.generation = generation;
    if (const auto found = candidates_.find(generation); found != candidates_.end())
      use.candidates = found->second;
    for (auto& [key, allocator] : by_module) use.allocators.push_back(std::move(allocator));
  }
  return uses;
}

}  // namespace tidemark::sources
