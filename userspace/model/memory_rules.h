// SPDX-License-Identifier: Apache-2.0
//
// The rules that memory_verdicts.cpp lists, by area. Each gives no finding, or some, widest first;
// the table sets their area.
#pragma once

#include <vector>

#include "model/memory_verdicts.h"

namespace tidemark::model {

using Findings = std::vector<Finding>;

// rules_pressure.cpp: memory that is short, or only looks so
[[nodiscard]] Findings judge_oom_kills(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_cgroup_limits(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_swap(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_cache(const MemoryFacts& facts, const MemoryPolicy& policy);

// rules_processes.cpp
[[nodiscard]] Findings judge_processes(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_address_space(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_thread_stacks(const MemoryFacts& facts, const MemoryPolicy& policy);

// rules_shmem.cpp
[[nodiscard]] Findings judge_tmpfs_mounts(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_held_files(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_orphan_segments(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_unexplained_shmem(const MemoryFacts& facts,
                                               const MemoryPolicy& policy);

// rules_kernel.cpp
[[nodiscard]] Findings judge_cache_groups(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_unreclaimable_slab(const MemoryFacts& facts,
                                                const MemoryPolicy& policy);
[[nodiscard]] Findings judge_vmalloc(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_page_tables(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_unused_hugepages(const MemoryFacts& facts, const MemoryPolicy& policy);

// rules_ghost.cpp
[[nodiscard]] Findings judge_unread_sockets(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_balloon(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_ghost(const MemoryFacts& facts, const MemoryPolicy& policy);
[[nodiscard]] Findings judge_counting(const MemoryFacts& facts, const MemoryPolicy& policy);

}  // namespace tidemark::model
