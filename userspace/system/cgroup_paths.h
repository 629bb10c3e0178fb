// SPDX-License-Identifier: Apache-2.0
//
// Control groups by the number that the kernel knows them by, which is the inode number of their
// directory.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "system/host_root.h"

namespace tidemark::system {

// Paths below the mount point, "/" for the root, of every hierarchy that may account memory. Empty
// where none is mounted. Stops at 100,000 groups.
[[nodiscard]] std::map<uint64_t, std::string> read_cgroup_paths(const HostRoot& root);

}  // namespace tidemark::system
