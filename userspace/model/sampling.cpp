// SPDX-License-Identifier: Apache-2.0
#include "model/sampling.h"

#include <algorithm>
#include <cmath>

#include "model/normal.h"

namespace tidemark::model {

SampleWeight weigh_sample(uint64_t size_bytes, uint64_t interval_bytes) {
  const auto size = static_cast<double>(size_bytes);
  if (interval_bytes == 0) return {.bytes = size, .count = 1, .variance = 0};
  // A block of no size is drawn as one of a byte: it has to have a chance.
  const double length = std::max(size, 1.0) / static_cast<double>(interval_bytes);
  const double count = 1 / -std::expm1(-length);
  const double bytes = size * count;
  return {.bytes = bytes, .count = count, .variance = bytes * bytes * std::exp(-length)};
}

uint64_t half_width_95(double sum_bytes, double variance, uint64_t interval_bytes) {
  if (interval_bytes == 0) return 0;
  if (sum_bytes <= 0) return 3 * interval_bytes;
  // The bytes that one sample stands for, where samples add to the variance.
  const double bytes_per_sample = variance / sum_bytes;
  const double shift = kStandardErrors95 * bytes_per_sample / 2;
  return static_cast<uint64_t>(
      std::llround(kStandardErrors95 * std::sqrt(variance + shift * shift)));
}

}  // namespace tidemark::model
