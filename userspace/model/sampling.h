// SPDX-License-Identifier: Apache-2.0
//
// The mathematics of sampled traces. Marks lie on the stream of allocated bytes at random, one in
// `interval` bytes on average (a Poisson process); a block is recorded if a mark falls into it,
// with probability p = 1 - e^(-size/interval). A recorded block stands for 1/p blocks and size/p
// bytes (Horvitz and Thompson 1952), whatever the others are: sums of that are right on average.
// Each block is weighed by itself and the weights are summed; weighing a sum by its average size is
// wrong where sizes differ.
//
// bpf/lib/sample.bpf.h does the same in fixed point. Pure.
#pragma once

#include <cstdint>

namespace tidemark::model {

// Shorter ones cost more than to count every block; longer ones have no place in BPF's arithmetic.
inline constexpr uint64_t kLeastSamplingInterval = 1 << 10;
inline constexpr uint64_t kMostSamplingInterval = 64 << 20;

// What a recorded block stands for. variance: its part of that of a sum, estimated, in bytes².
struct SampleWeight {
  double bytes = 0;
  double count = 1;
  double variance = 0;
};

// An interval of 0: every block is recorded and stands for itself.
[[nodiscard]] SampleWeight weigh_sample(uint64_t size_bytes, uint64_t interval_bytes);

// Half the 95 % interval around a sum of weights. Score interval of a Poisson count: as good as the
// normal one where there are many samples, and better where there are few (from some ten on it
// covers 93 to 97 %). `interval_bytes` is what was sampled by: with no sample at all, three times
// as much may be there unseen (e^-3 = 5 %).
[[nodiscard]] uint64_t half_width_95(double sum_bytes, double variance, uint64_t interval_bytes);

}  // namespace tidemark::model
