// SPDX-License-Identifier: Apache-2.0
//
// MappingEvents: the kernel's own records (perf_event_open(2): PERF_RECORD_COMM and
// PERF_RECORD_MMAP2) of the executable mappings that a process, or every process, makes from here
// on, over its execs. Of a single process only what its main thread maps is told, and of none what
// finds no room: a look at /proc, once a second, has both. Single-threaded.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark::bpfrt {

// A new executable mapping; device and inode as in /proc/PID/maps.
struct MappedCode {
  uint64_t start = 0;
  uint64_t size_bytes = 0;
  uint64_t file_offset_bytes = 0;
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  uint64_t inode = 0;
  std::string_view path;  // valid during the call only
};

struct MappingListener {
  std::function<void(pid_t pid, std::string_view comm)> exec;
  std::function<void(pid_t pid, const MappedCode&)> mapped;
};

class MappingEvents {
 public:
  [[nodiscard]] static Result<MappingEvents> of_process(pid_t pid);
  [[nodiscard]] static Result<MappingEvents> of_machine();

  // Readable when records wait.
  [[nodiscard]] std::vector<int> event_fds() const;
  // Tells what came in since, in its order. The listener must not throw.
  void consume(const MappingListener& listener);

 private:
  struct Unmap {
    void operator()(std::byte* ring) const noexcept;
  };
  struct Ring {
    UniqueFd event;
    std::unique_ptr<std::byte, Unmap> memory;  // the control page, then the records
  };
  struct Record {
    uint64_t time_ns = 0;
    uint32_t type = 0;
    uint16_t misc = 0;
    std::vector<std::byte> body;
  };
  MappingEvents() = default;
  [[nodiscard]] static Result<Ring> open_ring(pid_t pid, int cpu);
  static void drain(Ring& ring, std::vector<Record>& records);

  std::vector<Ring> rings_;  // of a machine: one for each CPU
};

}  // namespace tidemark::bpfrt
