// SPDX-License-Identifier: Apache-2.0
//
// MemoryOwners: who holds kernel memory that meminfo has no line for, and who holds shared memory.
// Pure values, no I/O: made by collect/memory_owners, matched against the ghost figure by the
// attribution. All figures are bytes; each object is listed once, however many descriptors lead to
// it.
//
//   bytes        what the object occupies by the kernel's own books
//   ghost_bytes  the part of it that lies in pages which no line of meminfo counts; the rest is in
//                slab or vmalloc. To be matched against the ghost figure, never added to it.
//
// What could not be read is std::nullopt or, where a whole area is missing, a line in coverage.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/ids.h"
#include "model/snapshot.h"

namespace tidemark::model {

using Inode =
    Strong<struct InodeTag, uint64_t>;  // of sockets and of namespaces: "net:[4026531840]"

// The process through whose descriptor an object was found: of several, the one with the lowest
// pid, and its lowest descriptor.
struct Holder {
  Pid pid;
  std::string comm;
  std::optional<int32_t> fd;          // none: held by a mapping
  std::optional<std::string> cgroup;  // path in the v2 hierarchy, else of the v1 memory controller
  uint32_t descriptors = 1;           // how many lead to the object, in all processes
};

// Names are those of ss(8): family "inet", "inet6", "unix", "packet", "netlink", "vsock", "xdp"
// ..., "42" for a family without a name; type "stream", "dgram", "raw", "seqpacket"; protocol
// "tcp", "icmpv6", "all" (every packet), or a number.
struct Socket {
  std::string family;
  std::string type;
  std::string protocol;
  std::string local;  // "127.0.0.1:80", "[::1]:80", a path, "@abstract", an interface; may be empty
  Inode inode;        // 0: no file leads to it any more
  Inode netns;
  std::optional<Holder> holder;      // none: an orphan, in flight or the kernel's own
  uint64_t recv_queue_bytes = 0;     // memory of what waits to be read (sk_rmem_alloc, backlog)
  uint64_t send_queue_bytes = 0;     // memory of what was sent and is not yet freed
  uint64_t forward_alloc_bytes = 0;  // charged ahead to the protocol, no memory of its own
  uint64_t ring_bytes = 0;           // packet rings, both directions
  std::optional<uint64_t> drops;     // packets
  // unix: what is sent is charged to the sender until it is read. The other end, and who has it.
  std::optional<Inode> peer;
  std::optional<Holder> peer_holder;
  uint64_t ghost_bytes = 0;      // of the queues and rings
  bool ghost_estimated = false;  // the split between slab and pages was not read but assumed

  [[nodiscard]] uint64_t bytes() const { return recv_queue_bytes + send_queue_bytes + ring_bytes; }
};

// As in the JSON (docs: ghost.explained.maker). Sockets are listed apart.
enum class GhostMaker {
  kPipe,
  kPerfRing,
  kFtrace,
  kBpf,
  kIoUring,
  kGpu,
  kNetworkRx,
  kMemoryMap,  // struct pages made after boot: hot-added memory, split hugetlb pages, page_ext
};
[[nodiscard]] constexpr std::string_view to_string(GhostMaker maker) {
  switch (maker) {
    case GhostMaker::kPipe:
      return "pipe";
    case GhostMaker::kPerfRing:
      return "perf_ring";
    case GhostMaker::kFtrace:
      return "ftrace";
    case GhostMaker::kBpf:
      return "bpf";
    case GhostMaker::kIoUring:
      return "io_uring";
    case GhostMaker::kGpu:
      return "gpu";
    case GhostMaker::kNetworkRx:
      return "network_rx";
    case GhostMaker::kMemoryMap:
      return "memory_map";
  }
  return "other";
}

struct GhostHolder {
  GhostMaker maker = GhostMaker::kPipe;
  std::optional<uint64_t> bytes;  // none: it is there, its size is not told
  uint64_t ghost_bytes = 0;
  std::optional<Holder> holder;  // none: the kernel's own, or held by no process
  std::string detail;            // for people: "pipe 123456, 16 of 16 pages in use"
};

// Does what the balloon took still count in MemTotal (then it is a ghost before Linux 6.18)?
enum class BalloonPlace { kInMemTotal, kTakenOffMemTotal, kUnknown };

struct Balloon {
  std::string driver;             // "virtio_balloon", "vmw_balloon", "hv_balloon", "xen_balloon"
  std::optional<uint64_t> bytes;  // now held
  BalloonPlace place = BalloonPlace::kUnknown;
  std::string source;  // the file that told it; empty where nothing did
};

struct FileSize {
  std::string path;  // below the mount point
  uint64_t bytes = 0;
};

// A tmpfs, once, however often and in however many namespaces it is mounted.
struct TmpfsMount {
  std::string path;     // as seen in the mount namespace
  std::string fs_type;  // "tmpfs", "devtmpfs"; "ramfs" has no accounting and is in no Shmem
  uint64_t device = 0;  // st_dev
  Inode mount_namespace;
  Pid seen_by;                    // a process in that namespace
  std::optional<uint64_t> bytes;  // in use, swapped out included
  std::vector<FileSize> largest;  // widest first
  bool walk_complete = true;      // false: too many files, `largest` is of those looked at
};

// A file without a name (any more) that something holds open or mapped. Shared anonymous memory is
// one, called "/dev/zero".
struct HeldFile {
  std::string name;  // "memfd:NAME", or the path it had
  std::string fs_type;
  uint64_t device = 0;
  Inode inode;
  Holder holder;
  uint64_t bytes = 0;                      // allocated; tmpfs: in memory and swapped out
  std::optional<uint64_t> resident_bytes;  // of them in the page cache
};

struct SysvSegment {
  int32_t id = 0;
  int32_t key = 0;
  uint64_t size_bytes = 0;      // as asked for
  uint64_t resident_bytes = 0;  // in memory
  uint64_t swap_bytes = 0;
  uint64_t attached = 0;  // nattch; 0 and nobody left: the classic leak
  Pid creator;
  std::optional<std::string> creator_comm;  // none: it has exited
  Pid last_user;
  uint32_t owner_uid = 0;
  Inode ipc_namespace;
};

// A BPF map, whoever holds it: a descriptor, a pin, a program.
struct BpfMap {
  uint32_t id = 0;
  std::string name;
  std::string type;               // "ringbuf", "arena", "array", "hash" ... or a number
  std::optional<uint64_t> bytes;  // none: the kernel does not tell
  uint64_t ghost_bytes = 0;      // ring buffers and arenas; the memory of all others is in vmalloc,
                                 // slab and percpu
  std::optional<Holder> holder;  // none: pinned, or held by a program
};

enum class OwnersPath { kIterator, kProc };

struct MemoryOwners {
  OwnersPath path = OwnersPath::kProc;  // how descriptors were walked
  std::vector<Socket> sockets;          // all with memory or a ring, widest first
  std::vector<GhostHolder> holders;     // all but sockets, BPF maps and balloons, widest first
  std::vector<BpfMap> bpf_maps;         // widest first
  std::optional<Balloon> balloon;       // none: no driver is there
  std::vector<TmpfsMount> tmpfs;
  std::vector<HeldFile> memfds;
  std::vector<HeldFile> deleted_files;
  std::vector<SysvSegment> sysv_segments;
  std::vector<Coverage> coverage;  // what was read and what not, with the reason

  [[nodiscard]] uint64_t ghost_bytes() const {
    uint64_t sum = 0;
    for (const Socket& socket : sockets) sum += socket.ghost_bytes;
    for (const GhostHolder& holder : holders) sum += holder.ghost_bytes;
    for (const BpfMap& map : bpf_maps) sum += map.ghost_bytes;
    return sum;
  }
};

}  // namespace tidemark::model
