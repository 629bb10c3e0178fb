// SPDX-License-Identifier: Apache-2.0
//
// What /proc/PID/fd and /proc/PID/fdinfo say of one descriptor. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace tidemark::system {

enum class FdKind { kSocket, kPipe, kPerf, kIoUring, kBpfMap, kDeletedFile, kGpu, kOther };

// Where a link in /proc/PID/fd leads: "socket:[123]", "/memfd:x (deleted)".
struct FdTarget {
  FdKind kind = FdKind::kOther;
  uint64_t inode = 0;  // of sockets and pipes
  std::string path;    // of files, without " (deleted)"; a memfd is "memfd:NAME"
};
[[nodiscard]] FdTarget parse_fd_link(std::string_view link);

// "map_id:" in the fdinfo of a BPF map.
[[nodiscard]] std::optional<uint32_t> parse_map_id(std::string_view fdinfo);

// The entries of an io_uring's rings, by their masks; since Linux 5.15 or so.
struct IoUringEntries {
  uint32_t sq_entries = 0;
  uint32_t cq_entries = 0;
};
[[nodiscard]] std::optional<IoUringEntries> parse_io_uring(std::string_view fdinfo);

// A client of a GPU driver, by its "drm-" lines. Bytes by region: resident where the driver says
// so, else what it calls memory.
struct DrmClient {
  std::string driver;
  std::string device;  // "0000:01:00.0"
  uint64_t client_id = 0;
  std::map<std::string, uint64_t, std::less<>> bytes_by_region;
};
[[nodiscard]] std::optional<DrmClient> parse_drm(std::string_view fdinfo);

// Of them in the machine's memory, not the card's.
[[nodiscard]] uint64_t system_memory_bytes(const DrmClient& client);
// The part that lies in pages of the driver's own. Drivers that take shared memory (i915, virtio)
// have theirs in Shmem.
[[nodiscard]] uint64_t driver_page_bytes(const DrmClient& client);

}  // namespace tidemark::system
