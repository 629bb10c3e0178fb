// SPDX-License-Identifier: Apache-2.0
//
// Memory of control groups, version 1 (the memory controller's own hierarchy) and version 2 (the
// unified one). Which one, and where it is mounted, is read from mountinfo.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/memory.h"
#include "support/result.h"
#include "system/host_root.h"

namespace tidemark::system {

enum class CgroupVersion { kV1, kV2 };

struct CgroupMount {
  CgroupVersion version = CgroupVersion::kV2;
  std::string path;
};

// All places where memory may be accounted, from the text of /proc/self/mountinfo; version 1 first,
// because a unified hierarchy beside it has no memory controller.
[[nodiscard]] std::vector<CgroupMount> find_cgroup_mounts(std::string_view mountinfo);

// The files of one group as they are; none: not there or not readable.
struct CgroupFiles {
  std::optional<std::string> stat;     // memory.stat
  std::optional<std::string> current;  // memory.current, memory.usage_in_bytes
  std::optional<std::string> limit;    // memory.max, memory.limit_in_bytes
  std::optional<std::string> kernel;   // version 1 only: memory.kmem.usage_in_bytes
};
[[nodiscard]] model::CgroupMemory parse_cgroup(CgroupVersion version, std::string path,
                                               const CgroupFiles& files);

// All groups, at most `most`, parents before children.
[[nodiscard]] Result<std::vector<model::CgroupMemory>> read_cgroup_memory(const HostRoot& root,
                                                                          std::size_t most);

}  // namespace tidemark::system
