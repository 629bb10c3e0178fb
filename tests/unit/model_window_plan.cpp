// SPDX-License-Identifier: Apache-2.0
#include "window_plan.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace tidemark::test {
namespace {

using model::Window;

constexpr double kShortGapShare = 0.25;
constexpr double kWindowsAtOnce = 3;
constexpr double kMostDuty = 0.9;

// Gaps between the end of a window and the start of the next.
class GapDraw {
 public:
  GapDraw(double least_ns, double mean_ns, uint64_t seed)
      : least_ns_(least_ns), mean_ns_(mean_ns), random_(seed) {
    const double short_mean = (mean_ns - least_ns) / std::log(mean_ns / least_ns);
    exponential_mean_ns_ =
        (mean_ns - kShortGapShare * short_mean) / (1 - kShortGapShare) - least_ns;
  }
  [[nodiscard]] double first() { return share_(random_) * mean_ns_; }
  [[nodiscard]] double next() {
    if (share_(random_) < kShortGapShare)
      return least_ns_ * std::pow(mean_ns_ / least_ns_, share_(random_));
    return least_ns_ - exponential_mean_ns_ * std::log1p(-share_(random_));
  }

 private:
  double least_ns_;
  double mean_ns_;
  double exponential_mean_ns_ = 0;
  std::mt19937_64 random_;
  std::uniform_real_distribution<> share_;
};

}  // namespace

std::vector<Window> plan_windows(const WindowPlan& plan, uint64_t from_ns, uint64_t to_ns) {
  const double duty = std::min(plan.duty, kMostDuty);
  if (duty <= 0) return {};
  const double overhead = std::max(static_cast<double>(plan.attach_ns + plan.detach_ns), 1.0);
  // Gaps of three times the shortest one on average, or there is nothing to draw.
  const double length = std::max(static_cast<double>(plan.least_window_ns),
                                 overhead * (3 - 1 / duty) / (1 / duty - 1));
  const double charge = length + overhead;
  GapDraw gaps(overhead, charge / duty - length, plan.seed);

  std::vector<Window> windows;
  double credit = kWindowsAtOnce * charge;
  double at = gaps.first();
  double credited_at = 0;
  while (true) {
    credit = std::min(credit + duty * (at - credited_at), kWindowsAtOnce * charge);
    credited_at = at;
    if (credit < charge) {
      at += (charge - credit) / duty;
      credit = charge;
      credited_at = at;
    }
    const Window window{.start_ns = from_ns + static_cast<uint64_t>(at),
                        .end_ns = from_ns + static_cast<uint64_t>(at + length)};
    if (window.end_ns > to_ns) return windows;
    windows.push_back(window);
    credit -= charge;
    at += length + gaps.next();
  }
}

}  // namespace tidemark::test
