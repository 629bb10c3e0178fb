// SPDX-License-Identifier: Apache-2.0
#include "sources/user_heap.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <set>
#include <span>
#include <unordered_set>
#include <utility>

#include "bpf/abi/heap.h"
#include "bpfrt/link.h"
#include "bpfrt/map.h"
#include "bpfrt/ring_buffer.h"
#include "bpfrt/skeleton.h"
#include "kernel/rules.h"
#include "model/sampling.h"
#include "sources/counters.h"
#include "sources/heap_attachments.h"
#include "sources/heap_records.h"
#include "sources/heap_throttle.h"
#include "sources/heap_windows.h"
#include "sources/rule_service.h"
#include "sources/shared.h"
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

constexpr std::string_view kUsdtPrefix = "heap_usdt_";
constexpr const char* kLifePrograms[] = {"life_exec", "life_exit", "life_fork"};

class UserHeap final : public Source {
 public:
  UserHeap(HeapSkeleton skeleton, const kernel::HeapPlan& plan, const Settings& settings)
      : skeleton_(std::move(skeleton)), plan_(plan), settings_(settings) {}

  [[nodiscard]] Status load(Shared& shared);
  [[nodiscard]] Result<model::Generation> select(model::Pid pid) override;
  [[nodiscard]] Status attach(const model::ProcessImage& target,
                              model::Generation generation) override;
  [[nodiscard]] Status follow(const model::ProcessImage& image,
                              const GenerationState& state) override {
    return attachments_->follow(image, state, is_counting());
  }
  void learn(model::Generation generation, const model::ProcessImage& image) override {
    rules_->learn(generation, image);
    attachments_->learn(image, generation, is_counting());
  }
  void release(const GenerationState& state) override {
    attachments_->release(state);
    rules_->forget(state.generation);
  }
  [[nodiscard]] Status forget(model::Generation generation) override;
  void start_learning() override { throttle_->set_gate(TM_GATE_LEARNING); }
  [[nodiscard]] std::vector<int> event_fds() const override {
    std::vector<int> fds = rules_->event_fds();
    fds.push_back(news_ring_->event_fd());
    if (const auto deaths = throttle_->event_fd()) fds.push_back(*deaths);
    return fds;
  }
  [[nodiscard]] Result<Served> serve() override;
  [[nodiscard]] std::vector<News> take_news() override { return std::exchange(news_, {}); }
  void open_gate() override { throttle_->set_gate(TM_GATE_OPEN); }
  void drain() override { skeleton_->bss->gate_state = TM_GATE_DRAINING; }
  void stop() override;
  [[nodiscard]] Result<std::vector<GenerationState>> generations() const override;
  [[nodiscard]] Result<Collected> collect(const Window& window) const override;
  [[nodiscard]] Throttle* throttle() override {
    return settings_.throttled ? &*throttle_ : nullptr;
  }

 private:
  [[nodiscard]] bool is_counting() const { return skeleton_->bss->gate_state == TM_GATE_OPEN; }
  [[nodiscard]] bool is_needed(std::string_view program) const;
  // Weights and errors, where some blocks may stand for others.
  [[nodiscard]] bool is_sampling() const {
    return settings_.sampling_interval_bytes != 0 || settings_.throttled;
  }
  void size_maps();
  [[nodiscard]] Status attach_life();
  [[nodiscard]] Status watch();
  [[nodiscard]] uint64_t resolve(uint64_t stack_id) const;
  [[nodiscard]] Result<Collected> collect_live(const Window& window) const;
  [[nodiscard]] SiteTable make_table(const Window& window) const;
  [[nodiscard]] Status read_sites(const std::optional<model::WindowFacts>& windows,
                                  SiteTable& sites) const;
  void add_deaths(const model::WindowFacts& windows, SiteTable& sites) const;
  void add_raw_stacks(std::vector<model::Stack>& stacks) const;
  [[nodiscard]] Result<CounterValues> read_counters() const;

  HeapSkeleton skeleton_;
  kernel::HeapPlan plan_;
  Settings settings_;
  // What follows uses the skeleton's maps and programs and goes before them.
  std::unique_ptr<RuleService> rules_;
  std::vector<bpfrt::Link> life_links_;
  std::unique_ptr<bpfrt::ProbeKeeper> keeper_;
  std::optional<HeapAttachments> attachments_;
  std::optional<HeapThrottle> throttle_;
  std::vector<model::Coverage> life_coverage_;
  std::set<model::Generation> forgotten_;
  tm_count dropped_at_exec_{};
  std::vector<News> news_;
  std::optional<bpfrt::RingBuffer> news_ring_;  // last: its callback uses the rest
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
  if (settings_.throttled) bpf_map__set_max_entries(maps.deaths, HeapThrottle::kDeathBytes);
  for (bpf_map* map : {maps.owners, maps.selected, maps.generations}) {
    bpf_map__set_max_entries(map, limits.max_targets);
  }
  // An entry for each probe of each process.
  const uint32_t processes_a_probe = settings_.reach == Reach::kMachine ? 8 : 1;
  for (bpf_map* map : {maps.cookies_by_address, maps.allocator_text}) {
    bpf_map__set_max_entries(map, TM_MAX_PROBES * processes_a_probe);
  }
}

// The verifier takes its time: what is not going to be attached is not loaded. Where sessions see
// entry and return of a call, the program for the entry alone is for functions that an exception
// may pass.
bool UserHeap::is_needed(std::string_view program) const {
  if (program.starts_with(kUsdtPrefix)) return !is_sampling();
  if (program.ends_with(kSessionSuffix)) return plan_.sessions;
  return !plan_.sessions || !is_for_allocations(program) || is_for_throwing(program);
}

Status UserHeap::load(Shared& shared) {
  const bool storage = plan_.thread_state == kernel::ThreadState::kTaskStorage;
  skeleton_->rodata->self_tgid = static_cast<uint32_t>(::getpid());
  skeleton_->rodata->have_task_storage = storage;
  skeleton_->rodata->have_attach_cookie = plan_.cookies == kernel::Cookies::kAttached;
  skeleton_->rodata->have_sessions = plan_.sessions;
  skeleton_->rodata->sampling = is_sampling();
  skeleton_->bss->sampling_interval = settings_.sampling_interval_bytes;
  skeleton_->rodata->tell_children = settings_.watch.children;
  skeleton_->rodata->tell_execs = settings_.watch.execs;
  skeleton_->rodata->select_all = settings_.reach == Reach::kMachine;
  skeleton_->bss->next_generation = 1;  // 0 is the kernel
  skeleton_->bss->raw_stacks_left = settings_.limits.max_stacks / 2;
  bpf_map__set_autocreate(skeleton_->maps.threads, storage);
  bpf_map__set_autocreate(skeleton_->maps.threads_by_tid, !storage);
  size_maps();
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, skeleton_->obj) {
    const bool session = std::string_view(bpf_program__name(each)).ends_with(kSessionSuffix);
    bpf_program__set_autoload(each, is_needed(bpf_program__name(each)));
    if (std::string_view(bpf_program__section_name(each)).ends_with("uprobe")) {
      bpfrt::prepare_for(each, plan_.uprobes,
                         session ? bpfrt::ProbeEnd::kBoth : bpfrt::ProbeEnd::kEntry);
    }
  }
  if (auto loaded = skeleton_.load(); !loaded) return loaded;
  const auto& maps = skeleton_->maps;
  if (auto offered = shared.maps.offer(skeleton_->obj); !offered) return offered;
  auto rules = RuleService::open(maps.rules, maps.rule_requests, maps.raw_stacks,
                                 settings_.limits.max_rules, shared.unwind);
  if (!rules) return std::unexpected(rules.error());
  rules_ = std::move(*rules);
  auto keeper = bpfrt::ProbeKeeper::start();
  if (!keeper) return std::unexpected(keeper.error());
  keeper_ = std::move(*keeper);
  attachments_.emplace(
      *keeper_, skeleton_->obj,
      AttachmentMaps{maps.cookies_by_address, maps.allocator_text, maps.hits, maps.usdt_arguments},
      plan_, settings_);
  throttle_.emplace(*skeleton_, *attachments_);
  if (auto watched = watch(); !watched) return watched;
  if (settings_.throttled) {
    auto measured = throttle_->open(*keeper_, plan_.uprobes);
    if (!measured) return within("--budget", measured.error());
  }
  return attach_life();
}

Status UserHeap::watch() {
  const auto& maps = skeleton_->maps;
  for (const model::Pid parent : settings_.watch.parents) {
    const auto tgid = static_cast<uint32_t>(parent.value);
    if (auto put = bpfrt::put(maps.watched_parents, tgid, uint32_t{1}); !put) return put;
  }
  auto ring =
      bpfrt::RingBuffer::open(maps.life_news, [this](const void* record, std::size_t size_bytes) {
        tm_news news{};
        if (size_bytes < sizeof(news)) return;
        std::memcpy(&news, record, sizeof(news));
        news_.push_back({model::Pid{static_cast<int32_t>(news.tgid)}, news.kind == TM_NEWS_CHILD});
      });
  if (!ring) return std::unexpected(ring.error());
  news_ring_ = std::move(*ring);
  return {};
}

Result<Served> UserHeap::serve() {
  if (auto consumed = throttle_->consume(); !consumed) return std::unexpected(consumed.error());
  if (auto consumed = news_ring_->consume(); !consumed) return std::unexpected(consumed.error());
  return rules_->serve();
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
  return attachments_->attach(target, generation, is_counting() && !settings_.selects_later);
}

Status UserHeap::forget(model::Generation generation) {
  std::vector<tm_block_key> gone;
  const auto read = bpfrt::for_each_entry<tm_block_key, tm_block>(
      skeleton_->maps.blocks, [&](const tm_block_key& key, const tm_block& block) {
        if (key.owner != generation.value) return;
        gone.push_back(key);
        ++dropped_at_exec_.count;
        dropped_at_exec_.bytes += static_cast<uint64_t>(
            std::llround(model::weigh_sample(block.size_bytes, block.interval_bytes).bytes));
      });
  if (!read) return read;
  for (const tm_block_key& key : gone) bpfrt::erase(skeleton_->maps.blocks, key);
  rules_->forget(generation);
  attachments_->forget(generation);
  forgotten_.insert(generation);
  return {};
}

void UserHeap::stop() {
  skeleton_->bss->gate_state = TM_GATE_CLOSED;
  attachments_->find_candidates();
  attachments_->detach();
  life_links_.clear();
}

// BPF gives numbers too, at exec and where it selects by itself; the insert decides whose one is.
Result<model::Generation> UserHeap::select(model::Pid pid) {
  const auto tgid = static_cast<uint32_t>(pid.value);
  const auto known = bpfrt::get<tm_selected>(skeleton_->maps.selected, tgid);
  if (known) return model::Generation{known->generation};
  tm_generation born{};
  born.tgid = static_cast<uint32_t>(pid.value);
  born.life = TM_LIFE_RUNNING;
  tm_selected chosen{};
  for (;;) {
    chosen.generation = std::atomic_ref(skeleton_->bss->next_generation).fetch_add(1);
    const auto is_new = bpfrt::put_new(skeleton_->maps.generations, chosen.generation, born);
    if (!is_new) return std::unexpected(is_new.error());
    if (*is_new) break;
  }
  const auto is_ours = bpfrt::put_new(skeleton_->maps.selected, tgid, chosen);
  if (is_ours && *is_ours) return model::Generation{chosen.generation};
  bpfrt::erase(skeleton_->maps.generations, chosen.generation);
  if (!is_ours) return std::unexpected(is_ours.error());
  const auto other = bpfrt::get<tm_selected>(skeleton_->maps.selected, tgid);
  if (!other) return fail("process {} has ended", pid.value);
  return model::Generation{other->generation};
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
    const auto value = read_counter(skeleton_->maps.counters, index);
    if (!value) return std::unexpected(value.error());
    values[index] = *value;
  }
  values[TM_COUNTER_dropped_at_exec] = dropped_at_exec_;
  values[TM_COUNTER_replaced_code].count = rules_->replaced_code();
  values[TM_COUNTER_deaths_untold].count += throttle_->windows().forgotten();
  values[TM_COUNTER_late_probes].count = attachments_->late_probes();
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, skeleton_->obj) {
    if (!bpf_program__autoload(each)) continue;
    const auto misses = bpfrt::program_misses(each);
    if (!misses) return std::unexpected(misses.error());
    values[TM_COUNTER_probe_misses].count += *misses;
  }
  return values;
}

uint64_t UserHeap::resolve(uint64_t stack_id) const {
  return rules_->raw_stacks().resolve(model::StackId{stack_id}).value;
}

// A generation that is gone holds nothing: all of it counts as freed.
Status UserHeap::read_sites(const std::optional<model::WindowFacts>& windows,
                            SiteTable& sites) const {
  const auto read = bpfrt::for_each_entry<tm_site_key, tm_site>(
      skeleton_->maps.sites, [&](tm_site_key key, tm_site totals) {
        if (forgotten_.contains(model::Generation{key.owner})) {
          totals.freed_bytes = totals.total_bytes;
          totals.freed_count = totals.total_count;
        }
        key.stack_id = resolve(key.stack_id);
        sites.add_site(key, totals);
      });
  if (!read) return read;
  return bpfrt::for_each_entry<tm_block_key, tm_block>(
      skeleton_->maps.blocks, [&](const tm_block_key& key, tm_block block) {
        block.site.stack_id = resolve(block.site.stack_id);
        sites.add_block(key, block);
        if (!windows) return;
        // Blocks of before are told by what is left of them.
        if (block.birth_ns < windows->began_ns) {
          sites.add_earlier(block.site, block);
        } else if (const auto history = history_of(block, windows->windows)) {
          sites.add_live_history(block.site, key.address, block, *history);
        }
      });
}

// What is in no table any more.
void UserHeap::add_deaths(const model::WindowFacts& windows, SiteTable& sites) const {
  const auto resolved = [this](tm_site_key key) {
    key.stack_id = resolve(key.stack_id);
    return key;
  };
  for (const auto& [key, totals] : throttle_->totals_before_windows())
    sites.add_earlier_total(resolved(key), totals);
  for (const tm_death& death : throttle_->windows().deaths()) {
    if (const auto history = history_of(death, windows.windows))
      sites.add_history(resolved(death.site), *history);
  }
}

void UserHeap::add_raw_stacks(std::vector<model::Stack>& stacks) const {
  std::unordered_set<model::StackId> known;
  for (const model::Stack& stack : stacks) known.insert(stack.id);
  for (const auto& [id, stack] : rules_->raw_stacks().stacks()) {
    if (!known.contains(id)) stacks.push_back(stack);
  }
}

// What comes of windows is no loss: estimates know when probes were there.
void tell_as_of_windows(std::vector<model::Counter>& counters) {
  const auto tell = [&](std::string_view name, std::string_view meaning) {
    const auto counter = std::ranges::find(counters, name, &model::Counter::name);
    if (counter == counters.end()) return;
    counter->kind = model::CounterKind::kNote;
    counter->meaning = meaning;
  };
  tell("missed_frees",
       "blocks whose address was allocated again after a free between windows; taken off");
  tell("abandoned_calls",
       "calls that were under way when a window ended, one a thread and window at most, or left "
       "without a return (longjmp); their blocks are in no window");
}

SiteTable UserHeap::make_table(const Window& window) const {
  return SiteTable(window, is_sampling() ? SiteTable::Counts::kWeighted : SiteTable::Counts::kWhole,
                   throttle_->windows().began_ns());
}

// Without what is past: that is more with each window.
Result<Collected> UserHeap::collect_live(const Window& window) const {
  Collected collected;
  SiteTable sites = make_table(window);
  if (auto read = read_sites(std::nullopt, sites); !read) return std::unexpected(read.error());
  collected.windows = throttle_->window_facts(window.taken_ns);
  collected.call_sites = sites.take();
  collected.uses = attachments_->read_uses();
  return collected;
}

Result<Collected> UserHeap::collect(const Window& window) const {
  if (window.detail == Detail::kLive) return collect_live(window);
  Collected collected;
  SiteTable sites = make_table(window);
  collected.windows = throttle_->window_facts(window.taken_ns);
  if (auto read = read_sites(collected.windows, sites); !read) return std::unexpected(read.error());
  if (collected.windows) add_deaths(*collected.windows, sites);
  const auto read_stacks = bpfrt::for_each_entry<uint64_t, tm_stack>(
      skeleton_->maps.stacks, [&](uint64_t id, const tm_stack& stack) {
        collected.stacks.push_back(to_stack(model::StackId{id}, stack));
      });
  if (!read_stacks) return std::unexpected(read_stacks.error());
  add_raw_stacks(collected.stacks);
  const auto counters = read_counters();
  if (!counters) return std::unexpected(counters.error());
  collected.call_sites = sites.take();
  collected.counters = describe_counters(*counters);
  if (collected.windows) tell_as_of_windows(collected.counters);
  // A free whose block is not known may be of one that was not sampled.
  if (is_sampling()) {
    std::erase_if(collected.counters,
                  [](const model::Counter& row) { return row.name == "unmatched_frees"; });
  }
  collected.coverage = life_coverage_;
  std::ranges::copy(attachments_->coverage(), std::back_inserter(collected.coverage));
  collected.uses = attachments_->read_uses();
  return collected;
}

}  // namespace

Result<std::unique_ptr<Source>> open_user_heap(const kernel::Facts& facts, const Settings& settings,
                                               Shared& shared) {
  auto plan = kernel::plan_heap(facts);
  if (!plan) return std::unexpected(plan.error());
  // Where every call's return is wanted, two programs are cheaper than one that asks which it is.
  const bool may_sample = settings.sampling_interval_bytes != 0 || settings.throttled;
  if (settings.sessions == SessionChoice::kNever || !may_sample) plan->sessions = false;
  bpfrt::silence_libbpf();
  auto skeleton = HeapSkeleton::open();
  if (!skeleton) return std::unexpected(skeleton.error());
  Settings chosen = settings;
  if (chosen.sites == SiteChoice::kCheapest) chosen.sites = cheapest_sites(facts);
  auto heap = std::make_unique<UserHeap>(std::move(*skeleton), *plan, chosen);
  if (auto loaded = heap->load(shared); !loaded) return std::unexpected(loaded.error());
  return heap;
}

}  // namespace tidemark::sources
