// SPDX-License-Identifier: Apache-2.0
//
// PriceTrim: what a trap costs in this target, beside what it cost in a helper of ours. A target
// has more in its caches to lose: 2 to 50 % more were seen.
//
// How it can be known from outside. The target's own work and the traps are both in its CPU time C;
// but traps are spent in the kernel, save for a part b of them (the processor is on its way out of
// the kernel, with interrupts off, when the timer's tick comes in), and the target's own work is in
// the kernel for a part s, which is seen while no probe is there. With C and the user part U of it:
//
//     C - U = s (C - S) + (1 - b) S      so      S = (C - U - s C) / (1 - b - s)
//
// User time is known by ticks, each a sample, so S has an error; so has what is known beforehand.
// The two are put together by their variances. Pure.
#pragma once

#include <cstdint>

namespace tidemark::model {

// Of a span of the trace. cpu and user: what the targets used; traps: by the helper's price.
struct CpuSpan {
  uint64_t cpu_ns = 0;
  uint64_t user_ns = 0;
  uint64_t traps_ns = 0;
  uint64_t programs_ns = 0;
};

class PriceTrim {
 public:
  // A span with probes throughout, one without.
  void add_open(const CpuSpan& span);
  void add_paused(const CpuSpan& span);

  // A trap costs so many times what it cost in the helper.
  [[nodiscard]] double factor() const { return known_.factor; }
  [[nodiscard]] double standard_error() const { return known_.standard_error; }
  // The targets' own part of a span.
  [[nodiscard]] double own_ns(const CpuSpan& span) const;
  // What an estimate per own time has to be multiplied by to get the ends of what it may be: own
  // time of all open spans over what it may be at most and at least, 95 %.
  struct Reach {
    double low = 1;
    double high = 1;
  };
  [[nodiscard]] Reach reach() const;

 private:
  struct Known {
    double factor = 1.15;
    double standard_error = 0.15;
  };
  [[nodiscard]] Known learn() const;

  struct Sums {
    double cpu = 0, user = 0, traps = 0, programs = 0;
    double spans = 0;
    void add(const CpuSpan& span);
  };
  Sums open_;
  Sums paused_;
  Known known_;
};

}  // namespace tidemark::model
