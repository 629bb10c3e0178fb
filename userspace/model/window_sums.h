// SPDX-License-Identifier: Apache-2.0
//
// Sums over blocks that windows saw, and how far they may be off. Two errors are looked at, and the
// larger one counts:
//
//   * That of the blocks: births are random events, and sampled. For a weighted sum of such, the
//     sum of squares of its parts is an unbiased estimate of its variance.
//   * That of the windows: rates vary in time, so that blocks of one window are alike (cluster
//     sampling). A window's part of the sum less what its exposure would give it at the average
//     rate is a residual; its square is an estimate of what the window adds to the variance
//     (linearised ratio, Cochran 1977), with Student's quantile for the number of windows.
//
// Few and skewed parts make a symmetric interval wrong, on the lower side below zero. So the sum is
// taken as that many Poisson events as give the same relative error, sum²/variance, and Byar's
// approximation of their exact interval is scaled back (Dobson, Kuulasmaa, Eberle and Scherer
// 1991). For the upper end one more event of the largest kind is added to the sum and its square to
// the variance (Fay and Feuer 1997): a site whose rare large blocks were not seen yet. With no
// event at all, 3.7 of that kind are possible.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "model/windows.h"

namespace tidemark::model {

struct Interval {
  double low = 0;
  double high = 0;
};

// A sum with what its 95 % interval takes.
class WindowedSum {
 public:
  // Each column is divided by an exposure of its own: a rate. They outlive the sum.
  explicit WindowedSum(std::span<const Exposure> columns);

  // The part of one block, by column, born in `window`. Parts are divided by the exposure here.
  void add(std::size_t window, std::span<const double> parts);
  void add(std::size_t window, double part) { add(window, {&part, 1}); }

  [[nodiscard]] double value() const { return value_; }
  // `largest` is what one more block could add.
  [[nodiscard]] Interval interval(double largest) const;

 private:
  [[nodiscard]] double window_variance() const;

  std::span<const Exposure> columns_;
  std::vector<double> of_column_;
  std::vector<double> of_window_;
  double value_ = 0;
  double squares_ = 0;
};

// 95 % around a weighted sum of Poisson events.
[[nodiscard]] Interval poisson_interval_95(double sum, double variance, double largest);

}  // namespace tidemark::model
