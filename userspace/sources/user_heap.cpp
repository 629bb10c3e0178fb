// SPDX-License-Identifier: Apache-2.0
#include "sources/user_heap.h"

#include <unistd.h>

#include <algorithm>
#include <set>
#include <span>

#include "bpf/abi/heap.h"
#include "bpfrt/link.h"
#include "bpfrt/map.h"
#include "bpfrt/skeleton.h"
#include "kernel/rules.h"
#include "sources/counters.h"
#include "sources/heap_attachments.h"
#include "sources/heap_records.h"
#include "sources/rule_service.h"
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

constexpr const char* kLifePrograms[] = {"life_exec", "life_exit", "life_fork"};

class UserHeap final : public Source {
 public:
  UserHeap(HeapSkeleton skeleton, const kernel::HeapPlan& plan, const Settings& settings)
      : skeleton_(std::move(skeleton)), plan_(plan), settings_(settings) {}

  [[nodiscard]] Status load();
  [[nodiscard]] Status attach(const model::ProcessImage& target,
                              model::Generation generation) override;
  [[nodiscard]] Status follow(const model::ProcessImage& image,
                              const GenerationState& state) override {
    return attachments_->follow(image, state);
  }
  void learn(model::Generation generation, const model::ProcessImage& image) override {
    rules_->learn(generation, image);
  }
  [[nodiscard]] Status forget(model::Generation generation) override;
  void start_learning() override { skeleton_->bss->gate_state = TM_GATE_LEARNING; }
  [[nodiscard]] int event_fd() const override { return rules_->event_fd(); }
  [[nodiscard]] Result<Served> serve() override { return rules_->serve(); }
  void open_gate() override { skeleton_->bss->gate_state = TM_GATE_OPEN; }
  void drain() override { skeleton_->bss->gate_state = TM_GATE_DRAINING; }
  void stop() override;
  [[nodiscard]] Result<std::vector<GenerationState>> generations() const override;
  [[nodiscard]] Result<Collected> collect(const Window& window) const override;

 private:
  void size_maps();
  [[nodiscard]] Status attach_life();
  [[nodiscard]] Status select(const model::ProcessImage& target, model::Generation generation);
  [[nodiscard]] Status read_sites(SiteTable& sites) const;
  [[nodiscard]] Result<CounterValues> read_counters() const;

  HeapSkeleton skeleton_;
  kernel::HeapPlan plan_;
  Settings settings_;
  // What follows uses the skeleton's maps and programs and goes before them.
  std::unique_ptr<RuleService> rules_;
  std::vector<bpfrt::Link> life_links_;
  std::optional<HeapAttachments> attachments_;
  std::vector<model::Coverage> life_coverage_;
  std::set<model::Generation> forgotten_;
  tm_count dropped_at_exec_{};
};

void UserHeap::size_maps() {
  const Limits& limits = settings_.limits;
  const auto& maps = skeleton_->maps;
  bpf_map__set_max_entries(maps.threads_by_tid, limits.max_threads);
  bpf_map__set_max_entries(maps.blocks, limits.max_blocks);
  bpf_map__set_max_entries(maps.stacks, limits.max_stacks);
  // A stack may be a call site in several processes, and of several allocators.
  bpf_map__set_max_entries(maps.sites, limits.max_stacks * 2);
  bpf_map__set_max_entries(maps.rules, limits.max_rules);
  for (bpf_map* map : {maps.owners, maps.selected, maps.generations}) {
    bpf_map__set_max_entries(map, limits.max_targets);
  }
  for (bpf_map* map : {maps.cookies_by_address, maps.allocator_text}) {
    bpf_map__set_max_entries(map, TM_MAX_PROBES);
  }
}

Status UserHeap::load() {
  const bool storage = plan_.thread_state == kernel::ThreadState::kTaskStorage;
  skeleton_->rodata->self_tgid = static_cast<uint32_t>(::getpid());
  skeleton_->rodata->have_task_storage = storage;
  skeleton_->rodata->have_attach_cookie = plan_.cookies == kernel::Cookies::kAttached;
  bpf_map__set_autocreate(skeleton_->maps.threads, storage);
  bpf_map__set_autocreate(skeleton_->maps.threads_by_tid, !storage);
  size_maps();
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, skeleton_->obj) {
    bpf_program__set_autoload(each, true);
    if (std::string_view(bpf_program__section_name(each)).ends_with("uprobe")) {
      bpfrt::prepare_for(each, plan_.uprobes);
    }
  }
  if (auto loaded = skeleton_.load(); !loaded) return loaded;
  const auto& maps = skeleton_->maps;
  auto rules = RuleService::open(maps.rules, maps.rule_requests, settings_.limits.max_rules);
  if (!rules) return std::unexpected(rules.error());
  rules_ = std::move(*rules);
  attachments_.emplace(skeleton_->obj,
                       AttachmentMaps{maps.cookies_by_address, maps.allocator_text, maps.hits},
                       plan_, settings_.sites);
  return attach_life();
}

Status UserHeap::attach_life() {
  for (const char* name : kLifePrograms) {
    const bpf_program* program = bpf_object__find_program_by_name(skeleton_->obj, name);
    auto link = bpfrt::attach_by_section(program);
    if (!link) return std::unexpected(link.error());
    life_links_.push_back(std::move(*link));
    const std::string_view section = bpf_program__section_name(program);
    life_coverage_.push_back(
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
  if (auto chosen = select(target, generation); !chosen) return chosen;
  return attachments_->attach(target, generation);
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
  rules_->forget(generation);
  forgotten_.insert(generation);
  return {};
}

void UserHeap::stop() {
  skeleton_->bss->gate_state = TM_GATE_CLOSED;
  attachments_->detach();
  life_links_.clear();
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
  values[TM_COUNTER_replaced_code].count = rules_->replaced_code();
  values[TM_COUNTER_late_probes].count = attachments_->late_probes();
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, skeleton_->obj) {
    const auto misses = bpfrt::program_misses(each);
    if (!misses) return std::unexpected(misses.error());
    values[TM_COUNTER_probe_misses].count += *misses;
  }
  return values;
}

// A generation that is gone holds nothing: all of it counts as freed.
Status UserHeap::read_sites(SiteTable& sites) const {
  const auto read = bpfrt::for_each_entry<tm_site_key, tm_site>(
      skeleton_->maps.sites, [&](const tm_site_key& key, tm_site totals) {
        if (forgotten_.contains(model::Generation{key.owner})) {
          totals.freed_bytes = totals.total_bytes;
          totals.freed_count = totals.total_count;
        }
        sites.add_site(key, totals);
      });
  if (!read) return read;
  return bpfrt::for_each_entry<tm_block_key, tm_block>(
      skeleton_->maps.blocks,
      [&](const tm_block_key&, const tm_block& block) { sites.add_block(block); });
}

Result<Collected> UserHeap::collect(const Window& window) const {
  Collected collected;
  SiteTable sites(window);
  if (auto read = read_sites(sites); !read) return std::unexpected(read.error());
  const auto read_stacks = bpfrt::for_each_entry<uint64_t, tm_stack>(
      skeleton_->maps.stacks, [&](uint64_t id, const tm_stack& stack) {
        collected.stacks.push_back(to_stack(model::StackId{id}, stack));
      });
  if (!read_stacks) return std::unexpected(read_stacks.error());
  const auto counters = read_counters();
  if (!counters) return std::unexpected(counters.error());
  collected.call_sites = sites.take();
  collected.counters = describe_counters(*counters);
  collected.coverage = life_coverage_;
  std::ranges::copy(attachments_->coverage(), std::back_inserter(collected.coverage));
  collected.uses = attachments_->read_uses();
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
