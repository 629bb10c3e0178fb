// SPDX-License-Identifier: Apache-2.0
#include "model/windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace tidemark::model {
namespace {

// Fewer than that say nothing of how much windows differ.
constexpr std::size_t kLeastWindows = 3;
constexpr std::size_t kLeastOldWindows = 2;
// Of an octave of ages, this many are looked at; the third lowest is the one that 2.5 % are below.
constexpr int kAgesOfRange = 120;
constexpr int kHoleAges = 3;

double part_before(double start, double end, double limit) {
  return std::max(std::min(end, limit) - start, 0.0);
}

double median_length_ns(const std::vector<Window>& windows) {
  std::vector<double> lengths;
  for (const Window& window : windows)
    lengths.push_back(static_cast<double>(window.end_ns - window.start_ns));
  const auto middle = lengths.begin() + static_cast<std::ptrdiff_t>(lengths.size() / 2);
  std::nth_element(lengths.begin(), middle, lengths.end());
  return *middle;
}

}  // namespace

Result<WindowLayout> WindowLayout::make(std::vector<Window> windows, uint64_t trace_start_ns,
                                        uint64_t now_ns) {
  if (windows.size() < kLeastWindows)
    return fail("{} windows so far; an estimate takes {}", windows.size(), kLeastWindows);
  WindowLayout layout;
  layout.windows_ = std::move(windows);
  layout.now_ns_ = now_ns;
  layout.length_ns_ = static_cast<double>(now_ns - trace_start_ns);
  layout.landmark_ns_ = median_length_ns(layout.windows_) / 4;
  if (layout.leak_age_ns() < 4 * layout.landmark_ns_)
    return fail("the trace is as short as a window; an estimate of leaks takes a longer one");
  const Exposure old = layout.cohort_births(layout.leak_age_ns());
  const auto old_windows = std::ranges::count_if(old.of_window, [](double ns) { return ns > 0; });
  if (old_windows < static_cast<std::ptrdiff_t>(kLeastOldWindows))
    return fail("{} windows in the first half of the trace; an estimate of leaks takes {}",
                old_windows, kLeastOldWindows);
  for (double from = layout.landmark_ns_; from < layout.leak_age_ns(); from *= 2)
    layout.age_ranges_.push_back(layout.measure(from, std::min(2 * from, layout.leak_age_ns())));
  return layout;
}

double WindowLayout::exposure_age_ns() const {
  double age = landmark_ns_;
  for (const AgeRange& range : age_ranges_) {
    if (range.floor_ns <= 0) break;
    age = range.to_ns;
  }
  return age;
}

std::optional<std::size_t> window_at(std::span<const Window> windows, uint64_t at_ns) {
  const auto after = std::ranges::upper_bound(windows, at_ns, {}, &Window::start_ns);
  if (after == windows.begin() || at_ns >= std::prev(after)->end_ns) return std::nullopt;
  return static_cast<std::size_t>(std::distance(windows.begin(), after)) - 1;
}

double WindowLayout::cohort_end_ns(std::size_t window) const {
  return static_cast<double>(windows_[window].end_ns) - landmark_ns_;
}

Exposure WindowLayout::all_births() const {
  Exposure exposure;
  for (const Window& window : windows_) {
    exposure.of_window.push_back(static_cast<double>(window.end_ns - window.start_ns));
    exposure.total += exposure.of_window.back();
  }
  return exposure;
}

Exposure WindowLayout::cohort_births(double age_ns) const {
  Exposure exposure;
  const double latest_birth = static_cast<double>(now_ns_) - age_ns;
  for (std::size_t at = 0; at < windows_.size(); ++at) {
    exposure.of_window.push_back(
        part_before(static_cast<double>(windows_[at].start_ns), cohort_end_ns(at), latest_birth));
    exposure.total += exposure.of_window.back();
  }
  return exposure;
}

double WindowLayout::watched_ns(double age_ns) const {
  double sum = 0;
  std::size_t first = 0;
  for (std::size_t at = 0; at < windows_.size(); ++at) {
    const double from = static_cast<double>(windows_[at].start_ns) + age_ns;
    const double to = cohort_end_ns(at) + age_ns;
    first = std::max(first, at);
    while (first < windows_.size() && static_cast<double>(windows_[first].end_ns) <= from) ++first;
    for (std::size_t later = first; later < windows_.size(); ++later) {
      const auto start = static_cast<double>(windows_[later].start_ns);
      if (start >= to) break;
      sum += part_before(std::max(start, from), to, static_cast<double>(windows_[later].end_ns));
    }
  }
  return sum;
}

WindowLayout::AgeRange WindowLayout::measure(double from_ns, double to_ns) const {
  std::vector<double> watched;
  double sum = 0;
  for (int step = 0; step < kAgesOfRange; ++step) {
    watched.push_back(watched_ns(from_ns + (to_ns - from_ns) * (step + 0.5) / kAgesOfRange));
    sum += watched.back();
  }
  std::nth_element(watched.begin(), watched.begin() + kHoleAges, watched.end());
  return {.from_ns = from_ns,
          .to_ns = to_ns,
          .mean_ns = sum / kAgesOfRange,
          .floor_ns = watched[kHoleAges]};
}

}  // namespace tidemark::model
