// SPDX-License-Identifier: Apache-2.0
//
// The counters of the whole machine: /proc/meminfo, /proc/vmstat, /proc/zoneinfo. Pure parsers:
// text in, values out, an error in one line for a file that is empty, cut off or something else. A
// line that is not understood (of a newer kernel) is passed over; the file's other lines still
// count.
#pragma once

#include <string_view>

#include "model/memory.h"
#include "support/result.h"

namespace tidemark::system {

// Bytes, except for lines without "kB" (HugePages_Total and the like), which are counts.
[[nodiscard]] Result<model::Counters> parse_meminfo(std::string_view text);

// "name value" lines, as in /proc/vmstat and in a cgroup's memory.stat. `what` names the file.
[[nodiscard]] Result<model::Counters> parse_named_values(std::string_view text,
                                                         std::string_view what);

[[nodiscard]] Result<model::ZoneTotals> parse_zoneinfo(std::string_view text);

}  // namespace tidemark::system
