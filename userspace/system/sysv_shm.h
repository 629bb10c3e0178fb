// SPDX-License-Identifier: Apache-2.0
//
// SysV shared memory of every IPC namespace, by /proc/sysvipc/shm. The parser is pure.
#pragma once

#include <string_view>
#include <vector>

#include "model/memory_owners.h"
#include "system/namespaces.h"

namespace tidemark::system {

// A line that is cut off or not understood is left out.
[[nodiscard]] std::vector<model::SysvSegment> parse_sysv_segments(std::string_view text);

// Adds all segments, attached or not, and a line of coverage.
void read_sysv_segments(const std::vector<Namespace>& ipcs,
                        std::vector<model::SysvSegment>& segments,
                        std::vector<model::Coverage>& coverage);

}  // namespace tidemark::system
