// SPDX-License-Identifier: Apache-2.0
//
// Verdicts on a memory snapshot: the decision tree of people who hunt leaks by hand, one rule a row
// (memory_verdicts.cpp). Facts in, findings out; no I/O, no clock. A rule that lacks a fact is
// silent: the coverage says what is missing.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "model/attribution.h"
#include "model/finding.h"
#include "model/memory.h"
#include "model/memory_owners.h"

namespace tidemark::model {

// Shares are of MemTotal. Where MemTotal is not known, only the absolute bounds hold.
struct MemoryPolicy {
  double large_share = 0.05;                 // an area that is worth a word
  double huge_share = 0.10;                  // slab that cannot be reclaimed
  double process_share = 0.25;               // one process
  double near_limit = 0.95;                  // of a control group's limit, of swap
  uint64_t least_bytes = 64ull << 20;        // nothing below is worth a word by its share
  uint64_t unread_queue_bytes = 4ull << 20;  // of one socket
  uint64_t orphan_segment_bytes = 1ull << 20;
  uint64_t many_stacks = 32;               // thread stacks of one size
  uint64_t many_stack_bytes = 1ull << 30;  // their address space
  double address_space_share = 0.80;       // of the 3 GiB of a 32-bit process
  std::size_t most_findings_a_rule = 5;
};

struct MemoryFacts {
  const MemorySnapshot& snapshot;
  const MemoryOwners& owners;
  const Attribution& attribution;
};

struct MemoryRule {
  std::string_view area;
  std::vector<Finding> (*judge)(const MemoryFacts& facts, const MemoryPolicy& policy);
};

[[nodiscard]] std::span<const MemoryRule> memory_rules();

// Critical first, then suspects, then infos; in the order of the rules. One info where nothing
// stands out.
[[nodiscard]] std::vector<Finding> judge_memory(const MemoryFacts& facts,
                                                const MemoryPolicy& policy);

}  // namespace tidemark::model
