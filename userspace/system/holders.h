// SPDX-License-Identifier: Apache-2.0
//
// What else is to be known of a process that holds something: its cgroup, and the whole path behind
// one of its descriptors. The parser is pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/memory_owners.h"

namespace tidemark::system {

// Of /proc/PID/cgroup: the path in the v2 hierarchy, or where v1's memory controller has one of its
// own, that.
[[nodiscard]] std::optional<std::string> parse_memory_cgroup(std::string_view text);

[[nodiscard]] std::optional<std::string> read_memory_cgroup(model::Pid pid);

// The path that a deleted file had; none where the descriptor is gone or leads elsewhere now.
[[nodiscard]] std::optional<std::string> read_deleted_path(const model::Holder& holder);

}  // namespace tidemark::system
