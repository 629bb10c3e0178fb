// SPDX-License-Identifier: Apache-2.0
//
// What is known of a process from outside: its name and what is mapped where. Pure values; read by
// system/, used by sources/ to find allocators and by symbolize/ to turn addresses into names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/ids.h"
#include "support/target_file.h"

namespace tidemark::model {

// Which file, whatever it is called: its device (major, minor as in /proc/PID/maps) and inode.
struct FileId {
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  uint64_t inode = 0;
  friend auto operator<=>(const FileId&, const FileId&) = default;
};

struct Mapping {
  Address start;
  Address end;                     // first address behind it
  uint64_t file_offset_bytes = 0;  // of `start` in the file
  FileId file;                     // inode 0: not a file
  bool executable = false;
  bool writable = false;  // and readable
  bool deleted = false;   // the file has no name any more
  std::string
      path;  // as the target sees it, without " (deleted)"; "[vdso]" and the like; may be empty
};

// How to open the mapping's file. Valid as long as the mapping is.
[[nodiscard]] inline MappedFile mapped_file(Pid pid, const Mapping& mapping) {
  return {.pid = pid.value,
          .path = mapping.path,
          .device_major = mapping.file.device_major,
          .device_minor = mapping.file.device_minor,
          .inode = mapping.file.inode,
          .start = mapping.start.value,
          .end = mapping.end.value,
          .deleted = mapping.deleted};
}

struct ProcessImage {
  Pid pid;
  std::string comm;
  std::string exe;                 // path as the target sees it
  std::optional<Pid> inner_pid{};  // its number in its own pid namespace
  std::optional<uint32_t> user{};  // effective
  std::vector<Mapping> mappings;   // ascending by start
};

}  // namespace tidemark::model
