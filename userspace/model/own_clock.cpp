// SPDX-License-Identifier: Apache-2.0
#include "model/own_clock.h"

#include <algorithm>

namespace tidemark::model {
namespace {

constexpr uint64_t kWallParts = 1000;

}  // namespace

void OwnClock::set(uint64_t at_ns, uint64_t own_ns) {
  if (!points_.empty()) {
    at_ns = std::max(at_ns, points_.back().at_ns);
    own_ns = std::max(own_ns, points_.back().own_ns);
  }
  points_.push_back({at_ns, own_ns});
}

uint64_t OwnClock::at(uint64_t at_ns) const {
  if (points_.empty()) return 1 + at_ns / kWallParts;
  const Point& first = points_.front();
  const uint64_t passed = at_ns > first.at_ns ? at_ns - first.at_ns : 0;
  const auto behind = std::ranges::upper_bound(points_, at_ns, {}, &Point::at_ns);
  uint64_t own = points_.back().own_ns;
  if (behind == points_.begin()) {
    own = first.own_ns;
  } else if (behind != points_.end()) {
    const Point& before = *(behind - 1);
    const auto part = static_cast<double>(at_ns - before.at_ns) /
                      static_cast<double>(behind->at_ns - before.at_ns);
    own = before.own_ns +
          static_cast<uint64_t>(part * static_cast<double>(behind->own_ns - before.own_ns));
  }
  return 1 + own - first.own_ns + passed / kWallParts;
}

}  // namespace tidemark::model
