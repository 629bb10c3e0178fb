// SPDX-License-Identifier: Apache-2.0
#include "model/growth_trend.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "model/normal.h"

namespace tidemark::model {
namespace {

constexpr std::size_t kLeastForInterval = 4;

// The k-th smallest, from 1.
double kth(std::vector<double>& values, std::size_t k) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::ranges::nth_element(values, at);
  return *at;
}

// Ranks of the slopes that bound the true one with 95 %, from 1.
struct Ranks {
  std::size_t low = 1;
  std::size_t high = 1;
};

Ranks ranks_95(std::size_t points, std::size_t slopes) {
  const auto n = static_cast<double>(points);
  const double deviation = std::sqrt(n * (n - 1) * (2 * n + 5) / 18);
  const double half = kStandardErrors95 * deviation / 2;
  const double middle = static_cast<double>(slopes) / 2;
  const double low = std::floor(middle - half);
  const double high = std::ceil(middle + half) + 1;
  const auto most = static_cast<double>(slopes);
  return {static_cast<std::size_t>(std::clamp(low, 1.0, most)),
          static_cast<std::size_t>(std::clamp(high, 1.0, most))};
}

}  // namespace

void GrowthSeries::add(uint64_t time_ns, uint64_t bytes) {
  points_.push_back({time_ns, static_cast<double>(bytes)});
  if (points_.size() > kMostPoints) points_.pop_front();
}

std::optional<uint64_t> GrowthSeries::last_bytes() const {
  if (points_.empty()) return std::nullopt;
  return static_cast<uint64_t>(points_.back().bytes);
}

bool GrowthSeries::has_grown(const TrendPolicy& policy) const {
  return !points_.empty() && points_.back().bytes - points_.front().bytes >=
                                 static_cast<double>(policy.least_growth_bytes);
}

std::optional<GrowthTrend> GrowthSeries::trend(const TrendPolicy& policy) const {
  if (points_.size() < kLeastForInterval) return std::nullopt;
  std::vector<double> slopes;
  slopes.reserve(points_.size() * (points_.size() - 1) / 2);
  for (std::size_t later = 1; later < points_.size(); ++later) {
    for (std::size_t earlier = 0; earlier < later; ++earlier) {
      const double seconds =
          static_cast<double>(points_[later].time_ns - points_[earlier].time_ns) / 1e9;
      if (seconds > 0) slopes.push_back((points_[later].bytes - points_[earlier].bytes) / seconds);
    }
  }
  if (slopes.empty()) return std::nullopt;
  const Ranks ranks = ranks_95(points_.size(), slopes.size());
  GrowthTrend trend;
  trend.low = kth(slopes, ranks.low);
  trend.high = kth(slopes, ranks.high);
  const std::size_t half = slopes.size() / 2;
  const double upper = kth(slopes, half + 1);
  trend.bytes_per_s = slopes.size() % 2 == 1 ? upper : (kth(slopes, half) + upper) / 2;
  trend.span_ns = points_.back().time_ns - points_.front().time_ns;
  trend.steady = is_steady(trend, policy);
  return trend;
}

bool GrowthSeries::is_steady(const GrowthTrend& trend, const TrendPolicy& policy) const {
  if (points_.size() < policy.least_points || trend.span_ns < policy.least_span_ns) return false;
  if (trend.low <= 0 || trend.bytes_per_s < policy.least_bytes_per_s) return false;
  if (!has_grown(policy)) return false;
  const double growth = points_.back().bytes - points_.front().bytes;
  double largest = 0;
  for (std::size_t at = 1; at < points_.size(); ++at)
    largest = std::max(largest, points_[at].bytes - points_[at - 1].bytes);
  if (largest > policy.most_in_one_step * growth) return false;
  // By time: points may lie closer together at the beginning.
  const uint64_t last_third = points_.back().time_ns - trend.span_ns / 3;
  const auto from = std::ranges::find_if(
      points_, [last_third](const Point& point) { return point.time_ns >= last_third; });
  return points_.back().bytes - from->bytes >= policy.least_in_last_third * growth;
}

}  // namespace tidemark::model
