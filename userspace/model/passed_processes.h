// SPDX-License-Identifier: Apache-2.0
//
// Processes that came and went between two looks at the machine: no look has them, but the kernel
// told of their end. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "model/ids.h"
#include "model/memory.h"

namespace tidemark::model {

// A pid, and when it started, in clock ticks since boot.
using ProcessKey = std::pair<int32_t, uint64_t>;

struct PassedProcess {
  ProcessKey key;
  std::string comm;                        // when it ended
  std::optional<uint64_t> peak_rss_bytes;  // over all programs that it ran; none: not told
};

// Those of one name.
struct PassedName {
  std::string comm;
  uint64_t count = 0;
  std::optional<uint64_t> peak_rss_bytes;  // the largest
  Pid pid;                                 // whose peak that was
};

// What a look has seen.
[[nodiscard]] std::set<ProcessKey> keys_of(const std::vector<ProcessMemory>& processes);

// Largest peak first, then by name.
[[nodiscard]] std::vector<PassedName> by_name(const std::vector<PassedProcess>& processes);

}  // namespace tidemark::model
