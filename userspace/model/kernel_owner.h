// SPDX-License-Identifier: Apache-2.0
//
// BlockOwners: whose the live blocks of a call site of kernel memory are, as the kernel says at the
// time of the report: control groups that they are charged to, and what packets they hold.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tidemark::model {

struct CgroupShare {
  uint64_t id = 0;                  // inode number of its directory
  std::string name;                 // last part of its path; "/" for the root
  std::optional<std::string> path;  // none: its directory is gone, or not to be found
  uint64_t live_bytes = 0;
  uint64_t live_count = 0;
};

struct PacketShare {
  uint16_t protocol = 0;  // an ethernet type; 0: not set yet
  std::string device;     // empty: none
  uint64_t live_count = 0;
};

// Largest first. What is charged to no control group, and blocks that hold no packet, are in none.
struct BlockOwners {
  std::vector<CgroupShare> cgroups;
  std::vector<PacketShare> packets;
};

}  // namespace tidemark::model
