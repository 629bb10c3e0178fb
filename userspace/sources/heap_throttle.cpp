// SPDX-License-Identifier: Apache-2.0
#include "sources/heap_throttle.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "bpfrt/map.h"
#include "sources/allocators.h"
#include "support/clock.h"
#include "user_heap.skel.h"

namespace tidemark::sources {
namespace {

constexpr std::string_view kReturnProgram = "heap_return";

}  // namespace

Status HeapThrottle::open(bpfrt::ProbeKeeper& keeper, UprobeMethod method) {
  auto run_times = bpfrt::keep_run_times();
  if (!run_times) return std::unexpected(run_times.error());
  run_times_ = std::move(*run_times);
  auto deaths = bpfrt::RingBuffer::open(skeleton_.maps.deaths,
                                        [this](const void* record, std::size_t size_bytes) {
                                          tm_death death{};
                                          if (size_bytes < sizeof(death)) return;
                                          std::memcpy(&death, record, sizeof(death));
                                          windows_.note(death);
                                        });
  if (!deaths) return std::unexpected(deaths.error());
  deaths_ = std::move(*deaths);
  const auto program = [this](const char* name) {
    return bpf_object__find_program_by_name(skeleton_.obj, name);
  };
  const bpf_program* const session = program("heap_malloc_session");
  price_ = measure_trap_price(keeper, method,
                              {program("heap_free"), program("heap_return"),
                               bpf_program__autoload(session) ? session : nullptr});
  if (auto of_helper = spending(); !of_helper) return std::unexpected(of_helper.error());
  traps_ns_ = 0;
  spending_ = {};
  return {};
}

void HeapThrottle::set_gate(uint32_t state) {
  gate_ = state;
  if (!is_paused_) skeleton_.bss->gate_state = state;
}

// Of the runs since the last look: a price holds as long as so many processes are traced.
Result<model::Spending> HeapThrottle::spending() {
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, skeleton_.obj) {
    const std::string_view section = bpf_program__section_name(each);
    if (!bpf_program__autoload(each) || !section.ends_with("uprobe")) continue;
    const auto use = bpfrt::program_use(each);
    if (!use) return std::unexpected(use.error());
    const bpfrt::ProgramUse before = std::exchange(uses_[each], *use);
    const uint64_t runs = use->runs - before.runs;
    spending_.programs_ns += use->run_ns - before.run_ns;
    traps_ns_ += price_of(each) * static_cast<double>(runs);
    if (std::string_view(bpf_program__name(each)) != kReturnProgram) spending_.calls += runs;
  }
  spending_.traps_ns = static_cast<uint64_t>(traps_ns_);
  return spending_;
}

// A session's runs are entries, and returns: as many of them where each block is recorded, else
// those of samples, which are few.
double HeapThrottle::price_of(const bpf_program* program) const {
  const std::string_view name = bpf_program__name(program);
  const uint32_t processes = attachments_.processes_a_probe();
  if (name == kReturnProgram) return price_.call(processes) - price_.entry(processes);
  const double step = attachments_.is_stepped(name) ? price_.step_ns : 0;
  if (!name.ends_with(kSessionSuffix)) return price_.entry(processes) + step;
  const double call = price_.session(processes) + step;
  const bool each_returns = skeleton_.bss->sampling_interval == 0;
  if (!each_returns) return call;
  return processes == 1 ? price_.entry(1) + step / 2 : call / 2;
}

void HeapThrottle::set_sampling_interval(uint32_t bytes) {
  skeleton_.bss->sampling_interval = bytes;
  if (windows_.have_begun()) longest_interval_bytes_ = std::max(longest_interval_bytes_, bytes);
}

// Calls under way come to their end while the entries are taken out.
void HeapThrottle::pause() {
  is_paused_ = true;
  skeleton_.bss->gate_state = TM_GATE_DRAINING;
  const bool first = !windows_.have_begun();
  windows_.pause(monotonic_now().ns);
  skeleton_.bss->tells_deaths = 1;
  attachments_.pause();
  if (first) keep_totals();
}

// What can't be read is missing in the sums of what was allocated, and no more.
void HeapThrottle::keep_totals() {
  (void)bpfrt::for_each_entry<tm_site_key, tm_site>(
      skeleton_.maps.sites, [this](const tm_site_key& key, const tm_site& totals) {
        totals_before_windows_.emplace_back(key, totals);
      });
}

void HeapThrottle::resume() {
  attachments_.resume();
  is_paused_ = false;
  set_gate(gate_);
  windows_.resume(monotonic_now().ns);
}

std::optional<int> HeapThrottle::event_fd() const {
  return deaths_ ? std::optional(deaths_->event_fd()) : std::nullopt;
}

Status HeapThrottle::consume() {
  return deaths_ ? deaths_->consume() : Status{};
}

std::optional<model::WindowFacts> HeapThrottle::window_facts(uint64_t now_ns) const {
  if (!windows_.have_begun()) return std::nullopt;
  model::WindowFacts facts;
  facts.began_ns = windows_.began_ns();
  facts.windows = windows_.windows(now_ns);
  facts.sampling_interval_bytes = longest_interval_bytes_;
  return facts;
}

}  // namespace tidemark::sources
