// SPDX-License-Identifier: Apache-2.0
//
// Does a process grow steadily? Judged by its sizes at a series of times alone: how fast, with the
// error of that, and whether it is a trend and not a jump, a wave, or a start that has come to its
// end. Pure; time is given.
//
// The rate is the median of the slopes between all pairs of points (Theil and Sen), which a few
// outliers do not move; its interval comes from Kendall's test of the same pairs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

namespace tidemark::model {

struct GrowthTrend {
  double bytes_per_s = 0;
  double low = 0;  // 95 %
  double high = 0;
  uint64_t span_ns = 0;  // that it was judged by
  bool steady = false;   // it is a trend, and it goes on
};

// What counts as steady growth.
struct TrendPolicy {
  std::size_t least_points = 8;
  uint64_t least_span_ns = 6'000'000'000;
  double least_bytes_per_s = 1024;
  uint64_t least_growth_bytes = 128 << 10;
  // Of all growth: more in one step is a jump, less in the last third has come to its end.
  double most_in_one_step = 0.5;
  double least_in_last_third = 0.1;
};

// The last sizes of a process.
class GrowthSeries {
 public:
  static constexpr std::size_t kMostPoints = 64;

  // Times rise.
  void add(uint64_t time_ns, uint64_t bytes);
  // None while there are too few points for an interval.
  [[nodiscard]] std::optional<GrowthTrend> trend(const TrendPolicy& policy = {}) const;
  // Did it grow enough to be worth a trend?
  [[nodiscard]] bool has_grown(const TrendPolicy& policy = {}) const;
  // The last size; none where there is none yet.
  [[nodiscard]] std::optional<uint64_t> last_bytes() const;

 private:
  struct Point {
    uint64_t time_ns = 0;
    double bytes = 0;
  };
  [[nodiscard]] bool is_steady(const GrowthTrend& trend, const TrendPolicy& policy) const;

  std::deque<Point> points_;
};

}  // namespace tidemark::model
