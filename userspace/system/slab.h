// SPDX-License-Identifier: Apache-2.0
//
// Slab caches: /proc/slabinfo, and the directory /sys/kernel/slab, where each cache is a directory
// and each of its names a link to it. The kernel merges caches of like size: slabinfo then shows
// one of the names only, and the memory may belong to any of them.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/memory.h"
#include "support/result.h"
#include "system/host_root.h"

namespace tidemark::system {

// In the order of the file; reclaimable and aliases are left unset.
[[nodiscard]] Result<std::vector<model::SlabCache>> parse_slabinfo(std::string_view text,
                                                                   uint64_t page_bytes);

// A name of a cache and the directory that it leads to; for a cache that is not merged, itself.
struct SlabLink {
  std::string name;
  std::string directory;  // ":0000256", "dentry"
};
// Every name below /sys/kernel/slab.
[[nodiscard]] Result<std::vector<SlabLink>> read_slab_links(const HostRoot& root);

// Gives each cache all names of its directory where there is more than one. The directory's own id
// (":0000256") is not a name.
void add_aliases(std::vector<model::SlabCache>& caches, const std::vector<SlabLink>& links);

}  // namespace tidemark::system
