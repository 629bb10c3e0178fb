// SPDX-License-Identifier: Apache-2.0
//
// GrowthWatch: which of many things grow, told from their sizes at one look after another. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace tidemark::sources {

struct GrowthPolicy {
  uint32_t looks = 3;                // in a row at which it was larger than before
  uint64_t least_bytes = 64 * 1024;  // gained in these looks
  std::size_t most_growing = 512;    // told in all
};

class GrowthWatch {
 public:
  explicit GrowthWatch(const GrowthPolicy& policy = {}) : policy_(policy) {}

  // Sizes at one look, by id; what is left out counts as 0. Returns ids that are now found to grow
  // and were not before, those that gained most first.
  [[nodiscard]] std::vector<uint64_t> look(const std::map<uint64_t, uint64_t>& bytes);

 private:
  struct Seen {
    uint64_t bytes = 0;
    uint64_t bytes_at_start = 0;  // of the run of growing looks
    uint32_t run = 0;
    bool told = false;
  };

  GrowthPolicy policy_;
  std::map<uint64_t, Seen> seen_;
  std::size_t told_ = 0;
};

}  // namespace tidemark::sources
