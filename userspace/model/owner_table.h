// SPDX-License-Identifier: Apache-2.0
//
// OwnerTable: from objects and the descriptors that lead to them to MemoryOwners. Both ways of
// walking descriptors (the kernel's iterator, /proc) fill it, so that what they say can be
// compared. An object is listed once, a descriptor names it; either may come first. Pure,
// single-threaded.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "model/memory_owners.h"

namespace tidemark::model {

enum class ObjectKind { kSocket, kPipe, kPerfRing, kIoUring, kBpfMap, kFile, kGpu };

// Number: the inode for sockets, pipes and files, the id of a BPF map, else what tells the objects
// of its kind apart. Device: of files only.
struct ObjectKey {
  ObjectKind kind = ObjectKind::kSocket;
  uint64_t number = 0;
  uint64_t device = 0;
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
};

// A descriptor of a process, or a mapping.
struct Opening {
  Pid pid;
  std::string comm;
  std::optional<int32_t> fd;  // none: a mapping
};

// The file behind a SysV segment: listed as such, not as a file.
[[nodiscard]] constexpr bool is_sysv_file(std::string_view name) {
  return name.starts_with("SYSV") || name.starts_with("/SYSV");
}

// Packets at the head of a receive queue that were looked at.
struct QueueSample {
  uint64_t queued = 0;   // packets in the queue
  uint64_t packets = 0;  // of them looked at
  uint64_t bytes = 0;
  uint64_t paged_bytes = 0;   // of them outside of slab
  uint64_t orphan_bytes = 0;  // unix: of them charged to senders that are closed
};

enum class RingMemory { kPages, kVmalloc };

struct SocketFacts {
  Socket socket;  // holder, peer_holder and the ghost part are filled in by the table
  std::optional<QueueSample> sample;
  RingMemory ring_memory = RingMemory::kPages;
};

class OwnerTable {
 public:
  // Sockets with inode 0 (no file) are all different; of others the first description stays.
  void add_socket(SocketFacts facts);
  void add_holder(const ObjectKey& key, GhostHolder holder);
  void add_file(HeldFile file);
  void open(const ObjectKey& key, const Opening& opening);

  [[nodiscard]] bool has(const ObjectKey& key) const { return holders_.contains(key); }
  [[nodiscard]] std::optional<Holder> holder_of(const ObjectKey& key) const;

  // Fills in sockets, holders, memfds and deleted_files, each widest first; what holds nothing is
  // left out. Sets the holders of bpf_maps.
  void write_to(MemoryOwners& owners) const;

 private:
  struct Openings {
    Holder first;
    std::set<std::pair<int32_t, int32_t>> seen;  // pid, fd; a mapping comes after all of them
  };
  [[nodiscard]] Socket settled(const SocketFacts& facts) const;
  [[nodiscard]] std::optional<double> paged_share_of(const SocketFacts& receiver) const;
  void settle_unix(const SocketFacts& facts, Socket& socket) const;

  std::map<Inode, SocketFacts> sockets_;
  std::vector<SocketFacts> orphans_;
  std::map<ObjectKey, GhostHolder> holders_;
  std::map<ObjectKey, HeldFile> files_;
  std::map<ObjectKey, Openings> openings_;
  QueueSample unix_samples_;  // sum of all, for senders whose receiver is not known
};

}  // namespace tidemark::model
