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
};
[[nodiscard]] ProcessStatus parse_status(std::string_view text);

// Can this be traced? Errors say why not: no such process, a thread and not a process, a kernel
// thread, a zombie, no permission.
[[nodiscard]] Result<model::ProcessImage> read_process(model::Pid pid);

// Does a thread of it run under a seccomp filter, or in strict mode? Also where that can't be read.
[[nodiscard]] bool is_under_seccomp(model::Pid pid);

// RssAnon now; none where the process is gone or cannot be read.
[[nodiscard]] std::optional<uint64_t> read_rss_anon_bytes(model::Pid pid);

}  // namespace tidemark::system
