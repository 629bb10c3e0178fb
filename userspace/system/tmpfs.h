// SPDX-License-Identifier: Apache-2.0
//
// Every tmpfs (and devtmpfs, ramfs) of all mount namespaces with what it holds and its largest
// files. A mount that only a descriptor keeps alive is not found. The parser is pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/memory_owners.h"
#include "system/namespaces.h"
#include "system/owners.h"

namespace tidemark::system {

// A line of /proc/PID/mountinfo.
struct Mount {
  uint64_t device = 0;  // as st_dev
  std::string root;     // of the file system, what is mounted here
  std::string point;    // as the process sees it
  std::string fs_type;
};
// A line that is cut off is left out; "\040" and its like are resolved.
[[nodiscard]] std::vector<Mount> parse_mountinfo(std::string_view text);

// The largest files below the directory, which belong to the same device. Follows no link and
// triggers no automount.
struct Walked {
  std::vector<model::FileSize> largest;
  uint64_t bytes = 0;  // of all that was seen
  bool complete = true;
};
[[nodiscard]] Walked walk_files(const std::string& directory, uint64_t device,
                                const WalkLimits& limits);

void read_tmpfs(const std::vector<Namespace>& namespaces, const WalkLimits& limits,
                std::vector<model::TmpfsMount>& mounts, std::vector<model::Coverage>& coverage);

}  // namespace tidemark::system
