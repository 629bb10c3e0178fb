// SPDX-License-Identifier: Apache-2.0
//
// When probes are attached, if they may not be attached always: windows [start, end) at random
// times, and what such a layout lets us see of blocks' ages. What is estimated from it is in
// window_estimate.h.
//
//   time   --[#####]------[#####]-[#####]---------------[#####]----> now
//             births       frees of those births, in all windows
//
// Random. A program has rhythms (timers, batches, caches that turn over), and windows in step with
// one of them would always see the same part of it. The governor draws how much it saves for the
// next window, and what that buys hangs on what windows cost and on how busy the targets were over
// seconds, not on what they do at the moment: that is what the estimates' lack of bias rests
// on. A block's age is seen only if two windows lie that far apart (or in one window). With many
// windows the differences of their times cover most ages; with few, and where each is dear, there
// are holes, and the layout says where.
//
// The landmark. Only births that were watched for at least the landmark age, a quarter of a window,
// are a cohort: those before `end - landmark`. Of these all deaths up to that age are known, so
// that short-lived blocks that were cut off by a window's end are not mistaken for survivors
// (landmark analysis: Anderson, Cain and Gelber 1983).
//
// Pure; times are ns of one clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "support/result.h"

namespace tidemark::model {

struct Window {
  uint64_t start_ns = 0;
  uint64_t end_ns = 0;
};

// The window that a moment lies in, by its place; none between them. `windows` in order, apart.
[[nodiscard]] std::optional<std::size_t> window_at(std::span<const Window> windows, uint64_t at_ns);

// How much each window adds to what a sum is divided by.
struct Exposure {
  std::vector<double> of_window;
  double total = 0;
};

// What the windows let us see; computed once for all call sites.
class WindowLayout {
 public:
  // A range of ages, and for how long blocks of such an age were watched, see watched_ns().
  struct AgeRange {
    double from_ns = 0;
    double to_ns = 0;
    double mean_ns = 0;
    double floor_ns = 0;  // all of its ages but 2.5 % were watched for longer
  };

  // `windows` in order, apart, all closed by `now`. Fails with a reason while there are too few for
  // an estimate with an error.
  [[nodiscard]] static Result<WindowLayout> make(std::vector<Window> windows,
                                                 uint64_t trace_start_ns, uint64_t now_ns);

  [[nodiscard]] std::span<const Window> windows() const { return windows_; }
  [[nodiscard]] uint64_t now_ns() const { return now_ns_; }
  [[nodiscard]] double length_ns() const { return length_ns_; }
  [[nodiscard]] double landmark_ns() const { return landmark_ns_; }
  // Half of the trace: older than that is what we call leaked. Each block that was born in the
  // first half had the time for it.
  [[nodiscard]] double leak_age_ns() const { return length_ns_ / 2; }
  // Up to here frees of all ages would have been seen (all but 2.5 % of the ages of each octave).
  // Beyond it deaths may hide in ages that no two windows are apart.
  [[nodiscard]] double exposure_age_ns() const;

  [[nodiscard]] std::optional<std::size_t> window_at(uint64_t at_ns) const {
    return model::window_at(windows_, at_ns);
  }
  // Time in windows; that in their cohort parts; that in cohort parts at least `age` ago.
  [[nodiscard]] Exposure all_births() const;
  [[nodiscard]] Exposure cohort_births(double age_ns) const;
  // For how much of the cohort's birth times the moment `age` later lies in a window, that of the
  // birth or a later one.
  [[nodiscard]] double watched_ns(double age_ns) const;
  // The octaves of age from the landmark to the leak age.
  [[nodiscard]] std::span<const AgeRange> age_ranges() const { return age_ranges_; }

 private:
  WindowLayout() = default;
  [[nodiscard]] double cohort_end_ns(std::size_t window) const;
  [[nodiscard]] AgeRange measure(double from_ns, double to_ns) const;

  std::vector<Window> windows_;
  uint64_t now_ns_ = 0;
  double length_ns_ = 0;
  double landmark_ns_ = 0;
  std::vector<AgeRange> age_ranges_;
};

}  // namespace tidemark::model
