// SPDX-License-Identifier: Apache-2.0
//
// What /proc/PID says of one process: maps, status, comm, exe. Parsers are pure; the readers around
// them do the I/O and give one line for a person where a process cannot be traced. Reading maps
// takes the target's mmap lock for a moment.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/growth.h"
#include "model/process.h"
#include "support/result.h"

namespace tidemark::system {

// A line of /proc/PID/maps; none if it is not one.
[[nodiscard]] std::optional<model::Mapping> parse_mapping(std::string_view line);
[[nodiscard]] std::vector<model::Mapping> parse_maps(std::string_view text);

struct ProcessStatus {
  std::string name;
  char state = '?';  // 'Z' zombie, 'X' dead
  model::Pid thread_group;
  std::optional<uint64_t> rss_anon_bytes;  // RssAnon; a kernel thread has none
  bool has_memory = false;                 // VmSize is there
  uint32_t threads = 0;
  bool under_seccomp = false;
  std::optional<uint32_t> user{};         // effective
  std::optional<model::Pid> inner_pid{};  // in its own pid namespace
};
[[nodiscard]] ProcessStatus parse_status(std::string_view text);

// Can this be traced? Errors say why not: no such process, a thread and not a process, a kernel
// thread, a zombie, no permission.
[[nodiscard]] Result<model::ProcessImage> read_process(model::Pid pid);

// Does a thread of it run under a seccomp filter, or in strict mode? Also where that can't be read.
[[nodiscard]] bool is_under_seccomp(model::Pid pid);

// RssAnon, RssFile, RssShmem and VmSwap of /proc/PID/status; none for a kernel thread.
[[nodiscard]] std::optional<model::ResidentSizes> parse_resident_sizes(std::string_view status);
// What stands behind the name in a line of /proc/PID/stat, from the state on: the name may hold
// blanks and parentheses, the last one ends it. None where there is no name.
[[nodiscard]] std::optional<std::string_view> stat_behind_name(std::string_view stat);
// Of /proc/PID/stat: those of the process, also of its threads that have ended.
[[nodiscard]] std::optional<model::PageFaults> parse_page_faults(std::string_view stat);

// None where the process is gone, a kernel thread, or cannot be read.
[[nodiscard]] std::optional<model::ResidentSizes> read_resident_sizes(model::Pid pid);
[[nodiscard]] std::optional<model::PageFaults> read_page_faults(model::Pid pid);
// Does this kernel say to the page how much is resident? Tried on ourselves. Until 6.17
// (82241a83cd15 "mm: fix the inaccurate memory statistics issue for users") parts of the counts
// that CPUs or threads hold back are left out.
[[nodiscard]] bool resident_sizes_are_exact();

// RssAnon now; none where the process is gone or cannot be read.
[[nodiscard]] std::optional<uint64_t> read_rss_anon_bytes(model::Pid pid);

// CPU time that the process and its threads, also those that have ended, have used; ns. None where
// it is gone.
[[nodiscard]] std::optional<uint64_t> read_cpu_ns(model::Pid pid);
// Of it, in user mode: by ticks, told in hundredths of a second.
[[nodiscard]] std::optional<uint64_t> read_user_cpu_ns(model::Pid pid);

}  // namespace tidemark::system
