// SPDX-License-Identifier: Apache-2.0
#include "sources/user_mapping.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "bpfrt/link.h"
#include "bpfrt/map.h"
#include "bpfrt/ring_buffer.h"
#include "bpfrt/skeleton.h"
#include "kernel/rules.h"
#include "sources/counters.h"
#include "sources/mapping_book.h"
#include "sources/shared.h"
#include "support/clock.h"
#include "user_mapping.skel.h"

namespace tidemark::sources {
namespace {

struct SkeletonTraits {
  using Type = user_mapping_bpf;
  static constexpr std::string_view kName = "user_mapping";
  static Type* open(const bpf_object_open_opts* options) {
    return user_mapping_bpf__open_opts(options);
  }
  static int load(Type* skeleton) { return user_mapping_bpf__load(skeleton); }
  static void destroy(Type* skeleton) { user_mapping_bpf__destroy(skeleton); }
};
using MappingSkeleton = bpfrt::Skeleton<SkeletonTraits>;

// The exit first, so that nothing begins whose end is not seen. Copies of a program: see
// SYSCALL_DONE in user_mapping.bpf.c.
struct Hook {
  const char* name;
  std::array<const char*, 8> programs;
};
constexpr std::array kHooks = {
    Hook{"sys_exit",
         {"mapping_exit1", "mapping_exit2", "mapping_exit3", "mapping_exit4", "mapping_exit5",
          "mapping_exit6", "mapping_exit7", "mapping_exit8"}},
    Hook{"sys_enter",
         {"mapping_enter1", "mapping_enter2", "mapping_enter3", "mapping_enter4", "mapping_enter5",
          "mapping_enter6", "mapping_enter7", "mapping_enter8"}}};

// Who is traced is the heap's affair, so are its generations.
class MappingSource : public Source {
 public:
  [[nodiscard]] Result<model::Generation> select(model::Pid pid) override {
    return fail("process {} is not selected here: the first source does that for all", pid.value);
  }
  [[nodiscard]] Status attach(const model::ProcessImage&, model::Generation) override { return {}; }
  [[nodiscard]] Status follow(const model::ProcessImage&, const GenerationState&) override {
    return {};
  }
  void release(const GenerationState&) override {}
  void start_learning() override {}
  [[nodiscard]] std::vector<News> take_news() override { return {}; }
  [[nodiscard]] Result<std::vector<GenerationState>> generations() const override {
    return std::vector<GenerationState>{};
  }
};

// On a kernel without these hooks.
class NoMappings final : public MappingSource {
 public:
  explicit NoMappings(std::string reason) : reason_(std::move(reason)) {}
  void learn(model::Generation, const model::ProcessImage&) override {}
  [[nodiscard]] Status forget(model::Generation) override { return {}; }
  [[nodiscard]] std::vector<int> event_fds() const override { return {}; }
  [[nodiscard]] Result<Served> serve() override { return Served::kAll; }
  void open_gate() override {}
  void drain() override {}
  void stop() override {}
  [[nodiscard]] Result<Collected> collect(const Window&) const override {
    Collected collected;
    for (const Hook& hook : kHooks) {
      collected.coverage.push_back({hook.name, model::HookState::kMissing, reason_});
    }
    return collected;
  }

 private:
  std::string reason_;
};

class UserMapping final : public MappingSource, private Extra {
 public:
  UserMapping(MappingSkeleton skeleton, const kernel::MappingPlan& plan,
              const std::shared_ptr<UnwindRules>& unwind)
      : skeleton_(std::move(skeleton)),
        book_(unwind),
        copies_(plan.programs == kernel::SyscallPrograms::kOnce ? 1 : kHooks[0].programs.size()) {}

  // Loads and attaches, closed still. An error says what this kernel lacks.
  [[nodiscard]] Status load();
  void learn(model::Generation generation, const model::ProcessImage& image) override;
  [[nodiscard]] Status forget(model::Generation generation) override;
  [[nodiscard]] std::vector<int> event_fds() const override { return {records_->event_fd()}; }
  [[nodiscard]] Result<Served> serve() override;
  void open_gate() override { skeleton_->bss->gate_state = TM_GATE_OPEN; }
  void drain() override { skeleton_->bss->gate_state = TM_GATE_DRAINING; }
  void stop() override;
  [[nodiscard]] Result<Collected> collect(const Window& window) const override;
  [[nodiscard]] Extra* extra() override { return left_out_ ? nullptr : this; }

 private:
  [[nodiscard]] Result<uint64_t> spent_ns(double trap_ns) const override;
  void leave_out(std::string reason) override;
  [[nodiscard]] Status hear();
  [[nodiscard]] std::span<const char* const> programs_of(const Hook& hook) const {
    return std::span(hook.programs).first(copies_);
  }
  [[nodiscard]] Result<uint64_t> lost_records() const;
  [[nodiscard]] Result<CounterValues> read_counters() const;

  MappingSkeleton skeleton_;
  MappingBook book_;
  std::optional<bpfrt::RingBuffer> records_;  // its callback uses the book
  std::vector<bpfrt::Link> links_;
  std::size_t copies_;
  bool stopped_ = false;
  std::optional<std::string> left_out_;  // why
};

// A system call takes a longer way while it has a tracepoint on, and on it meets the program: here
// 0.31 us for both ends, where a probe costs 0.7 us.
constexpr double kPartOfTrap = 0.2;

Status UserMapping::load() {
  for (const Hook& hook : kHooks) {
    for (const char* name : programs_of(hook)) {
      bpf_program__set_autoload(bpf_object__find_program_by_name(skeleton_->obj, name), true);
    }
  }
  if (auto loaded = skeleton_.load(); !loaded) return loaded;
  auto ring = bpfrt::RingBuffer::open(
      skeleton_->maps.mapping_records, [this](const void* record, std::size_t size_bytes) {
        book_.hear({static_cast<const std::byte*>(record), size_bytes});
      });
  if (!ring) return std::unexpected(ring.error());
  records_ = std::move(*ring);
  for (const Hook& hook : kHooks) {
    for (const char* name : programs_of(hook)) {
      auto link = bpfrt::attach_by_section(bpf_object__find_program_by_name(skeleton_->obj, name));
      if (!link) return std::unexpected(link.error());
      links_.push_back(std::move(*link));
    }
  }
  return {};
}

// Takes what waits in the ring buffer, and looks where its senders have their allocators.
Status UserMapping::hear() {
  if (auto consumed = records_->consume(); !consumed) return consumed;
  const std::vector<model::Generation> owners = book_.without_allocators();
  if (owners.empty()) return {};
  std::map<model::Generation, std::vector<model::AddressRange>> found;
  const auto read = bpfrt::for_each_entry<tm_text_key, tm_text>(
      skeleton_->maps.allocator_text, [&](const tm_text_key& key, const tm_text& text) {
        auto& ranges = found[model::Generation{key.owner}];
        const model::AddressRange range{text.start, text.end};
        if (std::ranges::find(ranges, range) == ranges.end()) ranges.push_back(range);
      });
  if (!read) return read;
  for (const model::Generation owner : owners) {
    // After an exec they are yet to be probed.
    if (found.contains(owner)) book_.learn_allocators(owner, std::move(found[owner]));
  }
  return {};
}

Result<Served> UserMapping::serve() {
  if (auto heard = hear(); !heard) return std::unexpected(heard.error());
  if (!stopped_) return book_.settle(monotonic_now());
  book_.settle_all();  // there is nothing more to wait for
  return Served::kAll;
}

void UserMapping::learn(model::Generation generation, const model::ProcessImage& image) {
  const MonotonicTime now = monotonic_now();
  (void)hear();  // an error shows again in serve()
  (void)book_.settle(now);
  // What was lost may have been an unmap: it must not look like a leak for ever.
  const auto lost = lost_records();
  if (lost && *lost > 0) book_.verify(generation, image, now);
}

Status UserMapping::forget(model::Generation generation) {
  if (auto heard = hear(); !heard) return heard;
  book_.forget(generation);
  return {};
}

void UserMapping::stop() {
  skeleton_->bss->gate_state = TM_GATE_CLOSED;
  links_.clear();
  stopped_ = true;
}

Result<uint64_t> UserMapping::spent_ns(double trap_ns) const {
  double runs = 0;
  for (const Hook& hook : kHooks) {
    for (const char* name : programs_of(hook)) {
      const auto use = bpfrt::program_use(bpf_object__find_program_by_name(skeleton_->obj, name));
      if (!use) return std::unexpected(use.error());
      runs += static_cast<double>(use->runs);
    }
  }
  return static_cast<uint64_t>(runs * kPartOfTrap * trap_ns);
}

void UserMapping::leave_out(std::string reason) {
  stop();
  left_out_ = std::move(reason);
}

Result<uint64_t> UserMapping::lost_records() const {
  uint64_t sum = 0;
  for (const uint32_t counter : {TM_COUNTER_mapping_records_lost, TM_COUNTER_mapping_calls_missed,
                                 TM_COUNTER_threads_full}) {
    const auto value = read_counter(skeleton_->maps.counters, counter);
    if (!value) return std::unexpected(value.error());
    sum += value->count;
  }
  return sum;
}

// What BPF counted is in the shared map, which user_heap reads.
Result<CounterValues> UserMapping::read_counters() const {
  CounterValues values{};
  const MappingBook::Counts& counts = book_.counts();
  values[TM_COUNTER_missed_unmaps] = counts.missed_unmaps;
  values[TM_COUNTER_unknown_sizes] = counts.unknown_sizes;
  values[TM_COUNTER_unmatched_unmaps] = counts.unmatched_unmaps;
  values[TM_COUNTER_dropped_at_exec] = counts.dropped_at_exec;
  // Where there are copies, a skipped one is no loss; BPF notices when all of them were.
  for (const Hook& hook : kHooks) {
    const bpf_program* first = bpf_object__find_program_by_name(skeleton_->obj, hook.programs[0]);
    const auto misses = copies_ == 1 ? bpfrt::program_misses(first) : Result<uint64_t>(0);
    if (!misses) return std::unexpected(misses.error());
    values[TM_COUNTER_probe_misses].count += *misses;
  }
  return values;
}

Result<Collected> UserMapping::collect(const Window& window) const {
  if (window.detail == Detail::kLive) return Collected{};  // no allocator's books have them
  Collected collected;
  if (left_out_) {
    for (const Hook& hook : kHooks)
      collected.coverage.push_back({hook.name, model::HookState::kOff, left_out_});
    return collected;
  }
  book_.collect(window, collected);
  const auto counters = read_counters();
  if (!counters) return std::unexpected(counters.error());
  collected.counters = describe_counters(*counters);
  for (const Hook& hook : kHooks) {
    collected.coverage.push_back({hook.name, model::HookState::kOn, {}});
  }
  return collected;
}

}  // namespace

Result<std::unique_ptr<Source>> open_user_mapping(const kernel::Facts& facts, const Settings&,
                                                  Shared& shared) {
  const auto heap = kernel::plan_heap(facts);
  if (!heap) return std::unexpected(heap.error());
  const auto plan = kernel::plan_mappings(facts);
  if (!plan) return std::make_unique<NoMappings>(plan.error().text);
  auto skeleton = MappingSkeleton::open();
  if (!skeleton) return std::unexpected(skeleton.error());
  (*skeleton)->rodata->self_tgid = static_cast<uint32_t>(::getpid());
  (*skeleton)->rodata->have_task_storage = heap->thread_state == kernel::ThreadState::kTaskStorage;
  if (auto adopted = shared.maps.adopt((*skeleton)->obj); !adopted) {
    return std::unexpected(adopted.error());
  }
  auto source = std::make_unique<UserMapping>(std::move(*skeleton), *plan, shared.unwind);
  if (auto loaded = source->load(); !loaded) {
    return std::make_unique<NoMappings>("mappings are not followed: " + loaded.error().text);
  }
  return source;
}

}  // namespace tidemark::sources
