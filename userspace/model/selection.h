// SPDX-License-Identifier: Apache-2.0
//
// Selection: which processes are to be traced, as asked for. Pure: it is asked of lists of
// processes that others read.
//
// Named by pid the targets are what they are; by any other way they are a group: processes join it
// while the trace runs (workers that are started again), and their call sites are summed.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/ids.h"

namespace tidemark::model {

// A process as a selection sees it.
struct ProcessEntry {
  Pid pid;
  Pid parent;
  std::string comm;                    // at most 15 characters, as the kernel keeps it
  std::vector<std::string> cgroups{};  // its path in each hierarchy: "/system.slice/nginx.service"
  bool kernel_thread = false;
};

struct Selection {
  std::vector<Pid> pids{};
  std::vector<Pid> children_of{};      // their children, and the children of these
  std::vector<std::string> comms{};    // whole names
  std::vector<std::string> cgroups{};  // as in ProcessEntry; those below belong to it
  bool all = false;
  std::vector<std::string> command{};  // started by us: program and arguments

  // More processes may come to belong to it.
  [[nodiscard]] bool is_group() const {
    return all || !children_of.empty() || !comms.empty() || !cgroups.empty() || !command.empty();
  }
};

// The path that a ProcessEntry would have: from "/sys/fs/cgroup/memory/web", "/web/" or "web" comes
// "/web". `mounts` are where hierarchies are mounted.
[[nodiscard]] std::string cgroup_path(std::string_view word, std::span<const std::string> mounts);

// Those that the selection names, ascending; never `self`, never a kernel thread.
[[nodiscard]] std::vector<Pid> select(const Selection& selection,
                                      std::span<const ProcessEntry> processes, Pid self);

}  // namespace tidemark::model
