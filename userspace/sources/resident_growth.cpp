// SPDX-License-Identifier: Apache-2.0
#include "sources/resident_growth.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "bpf/abi/growth.h"
#include "bpfrt/kernel_types.h"
#include "bpfrt/link.h"
#include "bpfrt/map.h"
#include "bpfrt/ring_buffer.h"
#include "bpfrt/skeleton.h"
#include "growth.skel.h"
#include "kernel/rules.h"
#include "sources/counters.h"
#include "sources/unwind_rules.h"
#include "support/clock.h"

namespace tidemark::sources {
namespace {

constexpr uint64_t kPageBytes = 4096;
// rss_stat passes mm and member, and the count itself as a third until 6.2.
constexpr std::size_t kArgumentsWithCount = 3;
// A count's part on one CPU is put into the shared one when it gets as large as this, in pages, or
// two for each CPU: lib/percpu_counter.c.
constexpr uint32_t kLeastBatch = 32;
// Larger than any two of them.
constexpr uint32_t kBatches = 4;

struct SkeletonTraits {
  using Type = growth_bpf;
  static constexpr std::string_view kName = "growth";
  static Type* open(const bpf_object_open_opts* options) { return growth_bpf__open_opts(options); }
  static int load(Type* skeleton) { return growth_bpf__load(skeleton); }
  static void destroy(Type* skeleton) { growth_bpf__destroy(skeleton); }
};
using GrowthSkeleton = bpfrt::Skeleton<SkeletonTraits>;

struct Hook {
  const char* tracepoint;
  const char* program;
  const char* without;  // what is not known where the kernel has no such tracepoint
};
constexpr std::array kHooks = {
    Hook{"rss_stat", "resident_set_changed",
         "call sites are not known, and every process is looked at each time"},
    Hook{"page_fault_user", "page_fault_of_user",
         "what of a call site's memory is there still is not known"},
    Hook{"page_fault_kernel", "page_fault_of_kernel",
         "what is there still of memory that system calls touch is not known"}};

std::string comm_of(const tm_growth_process& process) {
  return {process.comm, ::strnlen(process.comm, sizeof(process.comm))};
}

int64_t difference(uint64_t later, uint64_t earlier) {
  return static_cast<int64_t>(later) - static_cast<int64_t>(earlier);
}

GrowthRow to_row(uint32_t tgid, const tm_growth_process& process) {
  GrowthRow row;
  row.identity = {tgid, process.started_boot_ns, process.mm};
  row.comm = comm_of(process);
  for (const uint64_t bytes : process.grown_bytes) row.touched_bytes += bytes;
  row.events = process.events;
  row.heap_growth_bytes = difference(process.heap, process.heap_first);
  row.private_growth_bytes =
      difference(process.data, process.data_first) * static_cast<int64_t>(kPageBytes);
  return row;
}

// What is known of code, for the book. `rules` outlives it.
GrowthCode code_of(const UnwindRules& rules) {
  GrowthCode code;
  code.rule_of = [&rules](model::Generation owner,
                          model::Address address) -> std::optional<tm_rule> {
    if (!rules.knows(owner, address)) return std::nullopt;
    return rules.rule_for(owner, address);
  };
  code.function_start = [&rules](model::Generation owner,
                                 model::Address address) -> std::optional<model::Address> {
    const auto place = rules.place_of(owner, address);
    if (!place) return std::nullopt;
    const auto symbol = place->image.covering(place->call);
    // What has no name is one: there is nothing to tell its parts by.
    const uint64_t start = symbol && *symbol != nullptr ? (*symbol)->value.value : 0;
    return model::Address{address.value - (place->call.value - start)};
  };
  return code;
}

class Growth final : public ResidentGrowth {
 public:
  explicit Growth(GrowthSkeleton skeleton)
      : skeleton_(std::move(skeleton)), book_(code_of(rules_), monotonic_now().ns) {}

  // An error says why the kernel tells nothing.
  [[nodiscard]] Status load();
  void lack(std::string reason) { reason_ = std::move(reason); }

  void open_gate() override { skeleton_->bss->growth_is_on = 1; }
  void stop() override;
  [[nodiscard]] std::vector<int> event_fds() const override {
    return ring_ ? std::vector<int>{ring_->event_fd()} : std::vector<int>{};
  }
  [[nodiscard]] Status serve() override { return ring_ ? ring_->consume() : Status{}; }
  [[nodiscard]] Result<std::optional<std::vector<GrowthRow>>> rows() const override;
  void erase(const GrowthIdentity& identity) override;
  void learn(model::Generation owner, const model::ProcessImage& image) override;
  [[nodiscard]] GrowthBook& book() override { return book_; }
  [[nodiscard]] Result<std::vector<model::Counter>> counters() const override;
  [[nodiscard]] std::vector<model::Coverage> coverage() const override;

 private:
  [[nodiscard]] bool tells() const { return reason_.empty(); }
  [[nodiscard]] Status prepare(const bpfrt::KernelTypes& types);

  GrowthSkeleton skeleton_;
  UnwindRules rules_;
  GrowthBook book_;
  std::optional<bpfrt::RingBuffer> ring_;  // its callback uses the book
  std::vector<bpfrt::Link> links_;
  std::array<bool, kHooks.size()> is_there_{};
  std::string reason_;  // why nothing is told; empty: it is
};

Status Growth::prepare(const bpfrt::KernelTypes& types) {
  const auto arguments = types.tracepoint_arguments("rss_stat");
  if (!arguments) return fail("this kernel has no tracepoint rss_stat (since Linux 5.5)");
  const auto cpus = bpfrt::possible_cpus();
  if (!cpus) return std::unexpected(cpus.error());
  skeleton_->rodata->rss_stat_tells_count = arguments->size() >= kArgumentsWithCount;
  skeleton_->rodata->growth_large_step =
      kBatches * std::max(kLeastBatch, 2 * static_cast<uint32_t>(*cpus));
  skeleton_->rodata->growth_self = static_cast<uint32_t>(::getpid());
  for (std::size_t at = 0; at < kHooks.size(); ++at) {
    is_there_[at] = types.tracepoint_arguments(kHooks[at].tracepoint).has_value();
    bpf_program__set_autoload(bpf_object__find_program_by_name(skeleton_->obj, kHooks[at].program),
                              is_there_[at]);
  }
  return {};
}

Status Growth::load() {
  const auto types = bpfrt::KernelTypes::load();
  if (!types) return std::unexpected(types.error());
  if (auto prepared = prepare(*types); !prepared) return prepared;
  if (auto loaded = skeleton_.load(); !loaded) return loaded;
  auto ring = bpfrt::RingBuffer::open(
      skeleton_->maps.growth_samples, [this](const void* record, std::size_t size_bytes) {
        book_.hear({static_cast<const std::byte*>(record), size_bytes});
      });
  if (!ring) return std::unexpected(ring.error());
  ring_ = std::move(*ring);
  for (std::size_t at = 0; at < kHooks.size(); ++at) {
    if (!is_there_[at]) continue;
    auto link = bpfrt::attach_by_section(
        bpf_object__find_program_by_name(skeleton_->obj, kHooks[at].program));
    if (!link) return std::unexpected(link.error());
    links_.push_back(std::move(*link));
  }
  return {};
}

void Growth::stop() {
  if (!tells()) return;
  skeleton_->bss->growth_is_on = 0;
  bpfrt::detach(std::move(links_));
  links_.clear();
}

Result<std::optional<std::vector<GrowthRow>>> Growth::rows() const {
  if (!tells()) return std::nullopt;
  std::vector<GrowthRow> rows;
  auto read = bpfrt::for_each_entry<uint32_t, tm_growth_process>(
      skeleton_->maps.growth_processes, [&](uint32_t tgid, const tm_growth_process& process) {
        rows.push_back(to_row(tgid, process));
      });
  if (!read) return std::unexpected(read.error());
  return rows;
}

// Its number may be another's by now.
void Growth::erase(const GrowthIdentity& identity) {
  if (!tells()) return;
  const bpf_map* processes = skeleton_->maps.growth_processes;
  const auto now = bpfrt::get<tm_growth_process>(processes, identity.tgid);
  if (now && now->mm == identity.mm && now->started_boot_ns == identity.started_boot_ns)
    bpfrt::erase(processes, identity.tgid);
}

void Growth::learn(model::Generation owner, const model::ProcessImage& image) {
  (void)rules_.learn(owner, image);
  book_.learn(owner, monotonic_now().ns);
}

Result<std::vector<model::Counter>> Growth::counters() const {
  GrowthCounterValues values{};
  if (tells()) {
    for (uint32_t counter = 0; counter < TM_GROWTH_COUNTER_MAX; ++counter) {
      const auto value = read_counter(skeleton_->maps.growth_counters, counter);
      if (!value) return std::unexpected(value.error());
      values[counter] = *value;
    }
    for (std::size_t at = 0; at < kHooks.size(); ++at) {
      if (!is_there_[at]) continue;
      const auto misses = bpfrt::program_misses(
          bpf_object__find_program_by_name(skeleton_->obj, kHooks[at].program));
      if (!misses) return std::unexpected(misses.error());
      values[TM_GROWTH_growth_misses].count += *misses;
    }
  }
  values[TM_GROWTH_growth_stacks_lost] = book_.counts().stacks_lost;
  values[TM_GROWTH_growth_unwatched] = book_.counts().unwatched;
  return describe_counters(values);
}

std::vector<model::Coverage> Growth::coverage() const {
  std::vector<model::Coverage> rows;
  for (std::size_t at = 0; at < kHooks.size(); ++at) {
    const Hook& hook = kHooks[at];
    if (tells() && is_there_[at]) {
      rows.push_back({hook.tracepoint, model::HookState::kOn, {}});
      continue;
    }
    const std::string why =
        tells() ? fmt::format("this kernel has no tracepoint {}", hook.tracepoint) : reason_;
    rows.push_back(
        {hook.tracepoint, model::HookState::kMissing, fmt::format("{}: {}", why, hook.without)});
  }
  return rows;
}

}  // namespace

Result<std::unique_ptr<ResidentGrowth>> ResidentGrowth::open(const kernel::Facts& facts) {
  const auto heap = kernel::plan_heap(facts);
  if (!heap) return std::unexpected(heap.error());
  bpfrt::silence_libbpf();
  auto skeleton = GrowthSkeleton::open();
  if (!skeleton) return std::unexpected(skeleton.error());
  (*skeleton)->rodata->have_task_storage = heap->thread_state == kernel::ThreadState::kTaskStorage;
  auto growth = std::make_unique<Growth>(std::move(*skeleton));
  if (auto loaded = growth->load(); !loaded) growth->lack(loaded.error().text);
  return growth;
}

}  // namespace tidemark::sources
