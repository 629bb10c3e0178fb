// SPDX-License-Identifier: Apache-2.0
//
// MappingEvents: the kernel's own records (perf_event_open(2): PERF_RECORD_COMM and
// PERF_RECORD_MMAP2) of the executable mappings that a process makes from here on, over its execs.
// Only what its main thread maps is told, and not what finds no room: a look at /proc, once a
// second, has both. Single-threaded.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

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
  std::function<void(std::string_view comm)> exec;
  std::function<void(const MappedCode&)> mapped;
};

class MappingEvents {
 public:
  [[nodiscard]] static Result<MappingEvents> open(pid_t pid);

  // Readable when records wait.
  [[nodiscard]] int event_fd() const { return event_.get(); }
  // Tells what came in since, in its order. The listener must not throw.
  void consume(const MappingListener& listener);

 private:
  struct Unmap {
    void operator()(std::byte* ring) const noexcept;
  };
  MappingEvents() = default;

  UniqueFd event_;
  std::unique_ptr<std::byte, Unmap> ring_;  // the control page, then the records
};

}  // namespace tidemark::bpfrt
