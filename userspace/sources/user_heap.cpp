// SPDX-License-Identifier: Apache-2.0
#include "sources/user_heap.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <span>

#include "bpf/abi/heap.h"
#include "bpfrt/link.h"
#include "bpfrt/map.h"
#include "bpfrt/ring_buffer.h"
#include "bpfrt/skeleton.h"
#include "kernel/rules.h"
#include "sources/allocators.h"
#include "sources/counters.h"
#include "sources/heap_probes.h"
#include "sources/heap_records.h"
#include "sources/unwind_rules.h"
#include "user_heap.skel.h"

namespace tidemark::sources {
namespace {

struct SkeletonTraits {
  using Type = user_heap_bpf;
  static constexpr std::string_view kName = "user_heap";
  static Type* open(const bpf_object_open_opts* options) {
    return user_heap_bpf__open_opts(options);
  }
  static int load(Type* skeleton) { return user_heap_bpf__load(skeleton); }
  static void destroy(Type* skeleton) { user_heap_bpf__destroy(skeleton); }
};
using HeapSkeleton = bpfrt::Skeleton<SkeletonTraits>;

// Nonsense that the frame pointer led to is asked for as well and never known.
constexpr std::size_t kMaxUnanswered = 4096;

constexpr const char* kReturnProgram = "heap_return";
constexpr const char* kLifePrograms[] = {"life_exec", "life_exit"};

// One place that a probe was put on; its index is the number in the cookie.
struct PlacedProbe {
  model::Generation generation;
  std::size_t allocator = 0;
  std::string module;
  uint64_t file_offset_bytes = 0;
  uint64_t cookie = 0;
  model::FileId file;
};

bpfrt::UprobeMethod method_of(const kernel::HeapPlan& plan) {
  return plan.uprobes == kernel::UprobeMethod::kMulti ? bpfrt::UprobeMethod::kMulti
                                                      : bpfrt::UprobeMethod::kPerf;
}

uint64_t encode_cookie(uint16_t probe, const HeapProbe& planned) {
  tm_cookie cookie{};
  cookie.probe = probe;
  cookie.allocator = static_cast<uint16_t>(planned.allocator);
  cookie.valid = 1;
  cookie.stack_words = static_cast<uint8_t>(planned.site.stack_bytes / 8);
  return std::bit_cast<uint64_t>(cookie);
}

class UserHeap final : public Source {
 public:
  UserHeap(HeapSkeleton skeleton, const kernel::HeapPlan& plan, const Settings& settings)
      : skeleton_(std::move(skeleton)), plan_(plan), settings_(settings) {}

  [[nodiscard]] Status load();
  [[nodiscard]] Status attach(const model::ProcessImage& target,
                              model::Generation generation) override;
  void learn(model::Generation generation, const model::ProcessImage& image) override;
  [[nodiscard]] Status forget(model::Generation generation) override;
  void start_learning() override { skeleton_->bss->gate_state = TM_GATE_LEARNING; }
  [[nodiscard]] int event_fd() const override { return requests_->event_fd(); }
  [[nodiscard]] Status serve() override { return requests_->consume(); }
  void open_gate() override { skeleton_->bss->gate_state = TM_GATE_OPEN; }
  void stop() override;
  [[nodiscard]] Result<std::vector<GenerationState>> generations() const override;
  [[nodiscard]] Result<Collected> collect(const Window& window) const override;

 private:
  [[nodiscard]] const bpf_program* program(const char* name) const;
  [[nodiscard]] Status select(const model::ProcessImage& target, model::Generation generation);
  [[nodiscard]] Status attach_probes(const model::ProcessImage& target, const HeapProbePlan& plan,
                                     model::Generation generation);
  [[nodiscard]] Status attach_points(std::string_view name, bpfrt::ProbeEnd end,
                                     const bpfrt::UprobeTarget& target,
                                     std::span<const bpfrt::UprobePoint> points);
  void note_coverage(const HeapProbePlan& plan);
  [[nodiscard]] Result<CounterValues> read_counters() const;
  [[nodiscard]] Result<std::vector<Collected::Use>> read_uses() const;

  void answer(const tm_rule_key& asked);
  void drop_rules(model::Generation owner, std::span<const UnwindRules::Range> ranges);
  void note_addresses(const model::ProcessImage& image);

  HeapSkeleton skeleton_;
  std::optional<bpfrt::RingBuffer> requests_;
  UnwindRules rules_;
  std::vector<tm_rule_key> unanswered_;
  std::set<model::Generation> forgotten_;
  tm_count dropped_at_exec_{};
  kernel::HeapPlan plan_;
  Settings settings_;
  std::vector<bpfrt::Link> links_;  // after the skeleton: detached before its programs go
  std::vector<PlacedProbe> placed_;
  std::vector<model::Coverage> coverage_;
};

const bpf_program* UserHeap::program(const char* name) const {
  return bpf_object__find_program_by_name(skeleton_->obj, name);
}

Status UserHeap::load() {
  const Limits& limits = settings_.limits;
  const bool storage = plan_.thread_state == kernel::ThreadState::kTaskStorage;
  skeleton_->rodata->self_tgid = static_cast<uint32_t>(::getpid());
  skeleton_->rodata->have_task_storage = storage;
  skeleton_->rodata->have_find_vma = plan_.find_vma;
  skeleton_->rodata->have_attach_cookie = plan_.cookies == kernel::Cookies::kAttached;
  bpf_map__set_autocreate(skeleton_->maps.threads, storage);
  bpf_map__set_autocreate(skeleton_->maps.threads_by_tid, !storage);
  bpf_map__set_max_entries(skeleton_->maps.threads_by_tid, limits.max_threads);
  bpf_map__set_max_entries(skeleton_->maps.blocks, limits.max_blocks);
  bpf_map__set_max_entries(skeleton_->maps.stacks, limits.max_stacks);
  bpf_map__set_max_entries(skeleton_->maps.rules, limits.max_rules);
  bpf_map__set_max_entries(skeleton_->maps.cookies_by_address, TM_MAX_PROBES);
  // A stack may be a call site in several processes, and of several allocators.
  bpf_map__set_max_entries(skeleton_->maps.sites, limits.max_stacks * 2);
  for (bpf_map* map :
       {skeleton_->maps.owners, skeleton_->maps.selected, skeleton_->maps.generations}) {
    bpf_map__set_max_entries(map, limits.max_targets);
  }
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, skeleton_->obj) {
    bpf_program__set_autoload(each, true);
    if (std::string_view(bpf_program__section_name(each)).ends_with("uprobe")) {
      bpfrt::prepare_for(each, method_of(plan_));
    }
  }
  if (auto loaded = skeleton_.load(); !loaded) return loaded;
  auto requests = bpfrt::RingBuffer::open(skeleton_->maps.rule_requests,
                                          [this](const void* record, std::size_t size) {
                                            tm_rule_key asked{};
                                            if (size >= sizeof(asked))
                                              std::memcpy(&asked, record, sizeof(asked));
                                            answer(asked);
                                          });
  if (!requests) return std::unexpected(requests.error());
  requests_ = std::move(*requests);
  for (const char* name : kLifePrograms) {
    auto link = bpfrt::attach_by_section(program(name));
    if (!link) return std::unexpected(link.error());
    links_.push_back(std::move(*link));
    const std::string_view section = bpf_program__section_name(program(name));
    coverage_.push_back(
        {std::string(section.substr(section.find('/') + 1)), model::HookState::kOn, {}});
  }
  return {};
}

Status UserHeap::attach(const model::ProcessImage& target, model::Generation generation) {
  if (target.pid.value == ::getpid()) {
    return fail(
        "process {} is tidemark itself, whose own allocations would be counted for ever: name "
        "another process",
        target.pid.value);
  }
  auto plan = plan_heap_probes(target, settings_.sites);
  if (!plan) return std::unexpected(plan.error());
  if (auto chosen = select(target, generation); !chosen) return chosen;
  if (auto attached = attach_probes(target, *plan, generation); !attached) return attached;
  note_coverage(*plan);
  return {};
}

void UserHeap::learn(model::Generation generation, const model::ProcessImage& image) {
  drop_rules(generation, rules_.learn(generation, image));
  const auto waiting = std::exchange(unanswered_, {});
  for (const tm_rule_key& asked : waiting) answer(asked);
  if (plan_.cookies == kernel::Cookies::kByAddress) note_addresses(image);
}

Status UserHeap::forget(model::Generation generation) {
  std::vector<tm_block_key> gone;
  const auto read = bpfrt::for_each_entry<tm_block_key, tm_block>(
      skeleton_->maps.blocks, [&](const tm_block_key& key, const tm_block& block) {
        if (key.owner != generation.value) return;
        gone.push_back(key);
        ++dropped_at_exec_.count;
        dropped_at_exec_.bytes += block.size_bytes;
      });
  if (!read) return read;
  for (const tm_block_key& key : gone) bpfrt::erase(skeleton_->maps.blocks, key);
  forgotten_.insert(generation);
  return {};
}

// Kernels without attach cookies: which address in this process is which probe.
void UserHeap::note_addresses(const model::ProcessImage& image) {
  for (const model::Mapping& mapping : image.mappings) {
    if (!mapping.executable) continue;
    const uint64_t size = mapping.end.value - mapping.start.value;
    for (const PlacedProbe& probe : placed_) {
      const uint64_t within = probe.file_offset_bytes - mapping.file_offset_bytes;
      if (probe.file != mapping.file || within >= size) continue;
      const tm_probe_address key{mapping.start.value + within,
                                 static_cast<uint32_t>(image.pid.value), 0};
      // A full table shows as unknown_probes in the report.
      (void)bpfrt::put(skeleton_->maps.cookies_by_address, key, probe.cookie);
    }
  }
}

// Other code is there by now. Between the change and this, about a second, stacks through it may be
// wrong.
void UserHeap::drop_rules(model::Generation owner, std::span<const UnwindRules::Range> ranges) {
  if (ranges.empty()) return;
  std::vector<tm_rule_key> stale;
  const auto read = bpfrt::for_each_entry<tm_rule_key, tm_rule>(
      skeleton_->maps.rules, [&](const tm_rule_key& key, const tm_rule&) {
        const bool inside = std::ranges::any_of(ranges, [&](const UnwindRules::Range& range) {
          return key.pc > range.start && key.pc <= range.end;
        });
        if (key.owner == owner.value && inside) stale.push_back(key);
      });
  // What could not be read keeps the rules that it has.
  if (!read) return;
  for (const tm_rule_key& key : stale) bpfrt::erase(skeleton_->maps.rules, key);
}

// A rule that can't be written stays pending, and the walk goes along the frame pointer there.
void UserHeap::answer(const tm_rule_key& asked) {
  const model::Generation owner{asked.owner};
  // Code that came since the maps were last read: answered again when they are.
  if (!rules_.knows(owner, model::Address{asked.pc}) && unanswered_.size() < kMaxUnanswered) {
    unanswered_.push_back(asked);
  }
  const tm_rule rule = rules_.rule_for(owner, model::Address{asked.pc});
  (void)bpfrt::put(skeleton_->maps.rules, asked, rule);
}

// Closes the gate first: a call that begins now is not counted, one that is under way is settled,
// since the return probes, attached first, are detached last.
void UserHeap::stop() {
  skeleton_->bss->gate_state = TM_GATE_CLOSED;
  while (!links_.empty()) links_.pop_back();
}

Status UserHeap::select(const model::ProcessImage& target, model::Generation generation) {
  tm_generation life{};
  life.tgid = static_cast<uint32_t>(target.pid.value);
  life.life = TM_LIFE_RUNNING;
  tm_selected chosen{};
  chosen.generation = generation.value;
  skeleton_->bss->next_generation = std::max(skeleton_->bss->next_generation, generation.value + 1);
  if (auto put = bpfrt::put(skeleton_->maps.generations, generation.value, life); !put) return put;
  return bpfrt::put(skeleton_->maps.selected, life.tgid, chosen);
}

Status UserHeap::attach_probes(const model::ProcessImage& target, const HeapProbePlan& plan,
                               model::Generation generation) {
  using Points = std::vector<bpfrt::UprobePoint>;
  // By file and program, so that a uprobe_multi link takes as many as it can.
  std::map<std::pair<std::string, std::string_view>, Points> entries;
  std::map<std::string, Points> returns;
  for (const HeapProbe& probe : plan.probes) {
    if (!probe.shared_with.empty()) continue;
    if (placed_.size() >= TM_MAX_PROBES) {
      return fail("more than {} probes in one run: trace fewer processes at a time", TM_MAX_PROBES);
    }
    const ShapeTraits& traits = shape_traits(probe.symbol.shape);
    const ProbedFile& file = plan.files[probe.file];
    const std::string reach = fmt::format("/proc/self/fd/{}", file.descriptor.get());
    const uint64_t cookie = encode_cookie(static_cast<uint16_t>(placed_.size()), probe);
    const bool carried = plan_.cookies == kernel::Cookies::kAttached;
    entries[{reach, traits.program}].push_back({probe.offset.value, carried ? cookie : 0});
    if (traits.allocates) returns[reach].push_back({probe.offset.value, 0});
    placed_.push_back(
        {generation, probe.allocator, file.module, probe.offset.value, cookie, file.mapping.file});
  }
  for (const auto& [reach, points] : returns) {
    const auto attached =
        attach_points(kReturnProgram, bpfrt::ProbeEnd::kReturn, {reach, target.pid.value}, points);
    if (!attached) return attached;
  }
  for (const auto& [key, points] : entries) {
    const auto attached =
        attach_points(key.second, bpfrt::ProbeEnd::kEntry, {key.first, target.pid.value}, points);
    if (!attached) return attached;
  }
  return {};
}

Status UserHeap::attach_points(std::string_view name, bpfrt::ProbeEnd end,
                               const bpfrt::UprobeTarget& target,
                               std::span<const bpfrt::UprobePoint> points) {
  auto links = bpfrt::attach_uprobes(program(std::string(name).c_str()), method_of(plan_), end,
                                     target, points);
  if (!links) return within(fmt::format("process {}", target.pid), links.error());
  std::ranges::move(*links, std::back_inserter(links_));
  return {};
}

void UserHeap::note_coverage(const HeapProbePlan& plan) {
  static constexpr const char* kUnknown =
      "has malloc and free of its own and is no allocator that tidemark knows: what is allocated "
      "there is not counted";
  const auto add = [this](model::Coverage row) {
    const bool known = std::ranges::any_of(coverage_, [&](const model::Coverage& other) {
      return other.hook == row.hook && other.state == row.state;
    });
    if (!known) coverage_.push_back(std::move(row));
  };
  for (const HeapProbe& probe : plan.probes) {
    add({hook_name(probe.allocator, probe.symbol.symbol), model::HookState::kOn, {}});
  }
  for (const AbsentSymbol& absent : plan.absent) {
    add({hook_name(absent.allocator, absent.symbol.symbol), model::HookState::kMissing,
         absent.reason});
  }
  for (const std::string& path : plan.unknown_allocators) {
    add({fmt::format("allocator of {}", path.substr(path.rfind('/') + 1)),
         model::HookState::kMissing, kUnknown});
  }
}

Result<std::vector<GenerationState>> UserHeap::generations() const {
  std::vector<GenerationState> states;
  const auto read = bpfrt::for_each_entry<uint32_t, tm_generation>(
      skeleton_->maps.generations, [&](uint32_t generation, const tm_generation& record) {
        states.push_back(to_generation(model::Generation{generation}, record));
      });
  if (!read) return std::unexpected(read.error());
  std::ranges::sort(states, {}, &GenerationState::generation);
  return states;
}

Result<CounterValues> UserHeap::read_counters() const {
  CounterValues values{};
  for (uint32_t index = 0; index < TM_COUNTER_MAX; ++index) {
    const auto slots = bpfrt::per_cpu<tm_count>(skeleton_->maps.counters, index);
    if (!slots) return std::unexpected(slots.error());
    for (const tm_count& slot : *slots) {
      values[index].count += slot.count;
      values[index].bytes += slot.bytes;
    }
  }
  values[TM_COUNTER_dropped_at_exec] = dropped_at_exec_;
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, skeleton_->obj) {
    const auto misses = bpfrt::program_misses(each);
    if (!misses) return std::unexpected(misses.error());
    values[TM_COUNTER_probe_misses].count += *misses;
  }
  return values;
}

Result<std::vector<Collected::Use>> UserHeap::read_uses() const {
  std::map<model::Generation, std::map<std::pair<std::size_t, std::string>, model::AllocatorUse>>
      uses;
  for (uint32_t index = 0; index < placed_.size(); ++index) {
    const PlacedProbe& probe = placed_[index];
    const auto slots = bpfrt::per_cpu<uint64_t>(skeleton_->maps.hits, index);
    if (!slots) return std::unexpected(slots.error());
    model::AllocatorUse& use = uses[probe.generation][{probe.allocator, probe.module}];
    use.name = allocators()[probe.allocator].name;
    use.module = probe.module;
    ++use.probes;
    for (const uint64_t hits : *slots) use.hits += hits;
  }
  std::vector<Collected::Use> result;
  for (auto& [generation, by_module] : uses) {
    Collected::Use& use = result.emplace_back();
    use.generation = generation;
    for (auto& [key, allocator] : by_module) use.allocators.push_back(std::move(allocator));
  }
  return result;
}

Result<Collected> UserHeap::collect(const Window& window) const {
  Collected collected;
  SiteTable sites(window);
  const auto read_sites = bpfrt::for_each_entry<tm_site_key, tm_site>(
      skeleton_->maps.sites, [&](const tm_site_key& key, tm_site totals) {
        if (forgotten_.contains(model::Generation{key.owner})) {
          totals.freed_bytes = totals.total_bytes;
          totals.freed_count = totals.total_count;
        }
        sites.add_site(key, totals);
      });
  if (!read_sites) return std::unexpected(read_sites.error());
  const auto read_blocks = bpfrt::for_each_entry<tm_block_key, tm_block>(
      skeleton_->maps.blocks,
      [&](const tm_block_key&, const tm_block& block) { sites.add_block(block); });
  if (!read_blocks) return std::unexpected(read_blocks.error());
  const auto read_stacks = bpfrt::for_each_entry<uint64_t, tm_stack>(
      skeleton_->maps.stacks, [&](uint64_t id, const tm_stack& stack) {
        collected.stacks.push_back(to_stack(model::StackId{id}, stack));
      });
  if (!read_stacks) return std::unexpected(read_stacks.error());
  const auto counters = read_counters();
  if (!counters) return std::unexpected(counters.error());
  auto uses = read_uses();
  if (!uses) return std::unexpected(uses.error());
  collected.call_sites = sites.take();
  collected.counters = describe_counters(*counters);
  collected.coverage = coverage_;
  collected.uses = std::move(*uses);
  return collected;
}

}  // namespace

Result<std::unique_ptr<Source>> open_user_heap(const kernel::Facts& facts,
                                               const Settings& settings) {
  const auto plan = kernel::plan_heap(facts);
  if (!plan) return std::unexpected(plan.error());
  bpfrt::silence_libbpf();
  auto skeleton = HeapSkeleton::open();
  if (!skeleton) return std::unexpected(skeleton.error());
  auto heap = std::make_unique<UserHeap>(std::move(*skeleton), *plan, settings);
  if (auto loaded = heap->load(); !loaded) return std::unexpected(loaded.error());
  return heap;
}

}  // namespace tidemark::sources
