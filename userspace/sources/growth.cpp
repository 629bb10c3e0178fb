// SPDX-License-Identifier: Apache-2.0
#include "sources/growth.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace tidemark::sources {

std::vector<uint64_t> GrowthWatch::look(const std::map<uint64_t, uint64_t>& bytes) {
  std::vector<std::pair<uint64_t, uint64_t>> grown;  // gain, id
  for (auto& [id, seen] : seen_) {
    if (!bytes.contains(id)) seen.bytes = seen.bytes_at_start = seen.run = 0;
  }
  for (const auto& [id, now] : bytes) {
    Seen& seen = seen_[id];
    if (now > seen.bytes) {
      ++seen.run;
    } else if (now < seen.bytes) {
      seen.run = 0;
      seen.bytes_at_start = now;
    }
    seen.bytes = now;
    const uint64_t gain = now - std::min(now, seen.bytes_at_start);
    if (!seen.told && seen.run >= policy_.looks && gain >= policy_.least_bytes)
      grown.emplace_back(gain, id);
  }
  std::ranges::sort(grown, std::greater{});
  std::vector<uint64_t> ids;
  for (const auto& [gain, id] : grown) {
    if (told_ == policy_.most_growing) break;
    ++told_;
    seen_[id].told = true;
    ids.push_back(id);
  }
  return ids;
}

}  // namespace tidemark::sources
