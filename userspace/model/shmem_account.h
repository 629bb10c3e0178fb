// SPDX-License-Identifier: Apache-2.0
//
// Where Shmem is: mounts, files without a name, SysV segments, and what none of them explains.
// Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/memory.h"
#include "model/memory_owners.h"

namespace tidemark::model {

struct ShmemAccount {
  uint64_t mount_bytes = 0;     // files with a name on a tmpfs; held deleted ones are in here too
  uint64_t nameless_bytes = 0;  // memfds, and deleted files whose mount is in no namespace
  uint64_t segment_bytes = 0;
  // Shmem minus the sum; 0 where the sum is larger, as it is when part is swapped out. None: Shmem
  // is not known.
  std::optional<uint64_t> unexplained_bytes;
};

[[nodiscard]] ShmemAccount account_shmem(std::optional<uint64_t> shmem_bytes,
                                         const MemoryOwners& owners);

}  // namespace tidemark::model
