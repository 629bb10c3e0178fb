// SPDX-License-Identifier: Apache-2.0
//
// What /proc, sysfs, tracefs and netlink say of who holds memory: all that collect/memory_owners
// wants of this module, in its order. Nothing fails: what cannot be read is a line of coverage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "model/owner_table.h"

namespace tidemark::system {

// How far a tmpfs is walked.
struct WalkLimits {
  std::size_t entries = 100'000;  // in one file system
  std::size_t largest = 10;       // files that are named
};

// Descriptors and sockets, without the BPF iterator.
void read_open_files(model::OwnerTable& table, std::vector<model::Coverage>& coverage);

// What mappings lead to: they hold it after the descriptor was closed. Reads the maps of all
// processes.
void read_mappings(model::OwnerTable& table);

// "Shmem" of /proc/meminfo.
[[nodiscard]] std::optional<uint64_t> read_shmem_bytes();

// Closed TCP connections that the kernel still sends for: no descriptor leads to them. All network
// namespaces are asked only where /proc/net/sockstat counts any.
void read_orphans(model::OwnerTable& table, std::vector<model::Coverage>& coverage);

// A GPU client behind the descriptor; none if it is no such thing.
void add_gpu_client(const model::Opening& opening, model::OwnerTable& table);

// What no descriptor leads to: trace buffers, struct pages, page pools, the balloon, tmpfs mounts,
// SysV segments.
void read_other_owners(const WalkLimits& limits, model::MemoryOwners& owners);

// The cgroups of all holders, and whole paths for deleted files: the iterator knows the last part.
void name_holders(model::MemoryOwners& owners);

}  // namespace tidemark::system
