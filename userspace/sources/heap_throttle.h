// SPDX-License-Identifier: Apache-2.0
//
// HeapThrottle: what tracing the heap takes from its targets, and the pauses in which it takes
// nothing. Keeps the programs' gate, which a pause holds shut. Uses the skeleton and the
// attachments, which must outlive it. Single-threaded.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "bpf/abi/heap.h"
#include "bpfrt/probe_keeper.h"
#include "bpfrt/ring_buffer.h"
#include "bpfrt/skeleton.h"
#include "model/snapshot.h"
#include "sources/heap_attachments.h"
#include "sources/heap_windows.h"
#include "sources/source.h"
#include "sources/trap_price.h"
#include "support/result.h"
#include "support/unique_fd.h"

struct user_heap_bpf;

namespace tidemark::sources {

class HeapThrottle final : public Throttle {
 public:
  // Of the ring of deaths: 65,000 of them between two looks.
  static constexpr uint32_t kDeathBytes = 1 << 22;

  HeapThrottle(user_heap_bpf& skeleton, HeapAttachments& attachments)
      : skeleton_(skeleton), attachments_(attachments) {}

  // Lets the kernel time programs and measures what a trap costs. Without it nothing is known of
  // costs, and deaths are not told; the gate works.
  [[nodiscard]] Status open(bpfrt::ProbeKeeper& keeper, UprobeMethod method);
  // In a pause what was under way comes to its end, and nothing else: then from its end on.
  void set_gate(uint32_t state);

  [[nodiscard]] Result<model::Spending> spending() override;
  [[nodiscard]] double trap_ns() const override { return price_.entry_ns; }
  void set_sampling_interval(uint32_t bytes) override;
  void pause() override;
  void resume() override;

  // Readable when there are deaths; none where open() was not called.
  [[nodiscard]] std::optional<int> event_fd() const;
  [[nodiscard]] Status consume();
  [[nodiscard]] const HeapWindows& windows() const { return windows_; }
  // None before the first pause.
  [[nodiscard]] std::optional<model::WindowFacts> window_facts(uint64_t now_ns) const;
  // What the call sites had counted at the first pause.
  using Totals = std::pair<tm_site_key, tm_site>;
  [[nodiscard]] std::span<const Totals> totals_before_windows() const {
    return totals_before_windows_;
  }

 private:
  // What a run of the program stands for, at present.
  [[nodiscard]] double price_of(const bpf_program* program) const;
  void keep_totals();

  user_heap_bpf& skeleton_;
  HeapAttachments& attachments_;
  TrapPrice price_;
  std::map<const bpf_program*, bpfrt::ProgramUse> uses_;  // as last read
  double traps_ns_ = 0;
  model::Spending spending_;
  HeapWindows windows_;
  uint32_t gate_ = TM_GATE_CLOSED;  // what it is, or will be behind a pause
  bool is_paused_ = false;
  uint32_t longest_interval_bytes_ = 0;  // of windows
  std::vector<Totals> totals_before_windows_;
  UniqueFd run_times_;                       // while it is open, the kernel times programs
  std::optional<bpfrt::RingBuffer> deaths_;  // last: its callback uses the windows
};

}  // namespace tidemark::sources
