// SPDX-License-Identifier: Apache-2.0
//
// A hash of words, where only sameness matters. Pure.
#pragma once

#include <cstdint>

namespace tidemark {

// Mixes a word into a hash; the multiplier is 2^64 divided by the golden ratio.
[[nodiscard]] constexpr uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

}  // namespace tidemark
