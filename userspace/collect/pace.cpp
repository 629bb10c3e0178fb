// SPDX-License-Identifier: Apache-2.0
#include "collect/pace.h"

#include <algorithm>

namespace tidemark::collect {

void Pace::done(uint64_t now_ns, uint64_t cpu_ns) {
  constexpr double kLongestNs = 86'400e9;  // once a day, whatever it costs
  const double wait_ns = static_cast<double>(cpu_ns) / share_;
  next_ns_ = now_ns + static_cast<uint64_t>(std::min(wait_ns, kLongestNs));
}

}  // namespace tidemark::collect
