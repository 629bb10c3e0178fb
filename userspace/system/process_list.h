// SPDX-License-Identifier: Apache-2.0
//
// The processes of the machine, as a model::Selection asks for them. One that ends while it is read
// is left out.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/selection.h"

namespace tidemark::system {

// A line of /proc/PID/stat; none if it is not one. Without its cgroups.
[[nodiscard]] std::optional<model::ProcessEntry> parse_stat(std::string_view text);
// The paths out of /proc/PID/cgroup, each once.
[[nodiscard]] std::vector<std::string> parse_cgroups(std::string_view text);
// Where cgroup hierarchies are mounted, out of /proc/self/mountinfo.
[[nodiscard]] std::vector<std::string> parse_cgroup_mounts(std::string_view text);

// The processes of /proc, ascending.
[[nodiscard]] std::vector<model::Pid> list_pids();
// As its thread group leader is called; empty when it has gone.
[[nodiscard]] std::string read_comm(model::Pid pid);
[[nodiscard]] std::optional<model::ProcessEntry> read_entry(model::Pid pid);
// Ascending by pid.
[[nodiscard]] std::vector<model::ProcessEntry> list_processes();
[[nodiscard]] std::vector<std::string> cgroup_mounts();
[[nodiscard]] bool is_directory(const std::string& path);

}  // namespace tidemark::system
