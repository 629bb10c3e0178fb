// SPDX-License-Identifier: Apache-2.0
//
// Analysis: what a snapshot says about itself. Pure: no clock, no I/O, no names of functions. It
// only suspects; whether a block is leaked is known to the program's author alone.
//
// A call site is judged by the survivors of the first three quarters of the trace: those had time
// to be freed.
//
//   births of live blocks, by quarter      shape       verdict
//     256  256  256  256                   kGrowing    suspect
//     4000   0    0    0                   kBurst      info where it is large: a cache, a warm-up
//       0    0    0  120                   kYoung      none: churn, a queue
//      10   40   90  400                   kDeclining  none: blocks live long, but they are freed
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/finding.h"
#include "model/snapshot.h"

namespace tidemark::model {

struct Policy {
  uint64_t min_duration_ns = 2'000'000'000;  // no call site is judged in a shorter trace
  uint64_t min_live_bytes = 1024;
  double min_share = 0.01;     // of all live bytes
  uint64_t min_survivors = 8;  // live blocks born in the first three quarters
  uint64_t min_survivors_in_churn =
      24;  // the same, where a quarter or more of the allocations is freed
  uint64_t min_burst_bytes = 64 * 1024;
  double min_burst_share = 0.05;
  // A call site most of whose blocks are free by the allocator's own books is no suspect.
  double refuting_share = 0.5;
  uint64_t min_audited = 8;
  // A process without a block, where hits are not known, is told if it grew by this.
  uint64_t min_silent_growth_bytes = 1 << 20;
  std::size_t most_execs_told = 8;
};

enum class SiteShape {
  kTooLittle,  // nothing live, or too little to judge
  kYoung,      // mostly young blocks
  kBurst,      // nearly all survivors were born in one quarter, not the last
  kDeclining,  // the older, the fewer: blocks are freed, only late
  kUneven,     // none of these
  kGrowing,    // every quarter leaves its share behind
};

[[nodiscard]] SiteShape shape_of(const CallSite& site, const Policy& policy);

// Call sites of the heap that are, or may soon be, suspects: what an audit should look at before
// they are judged. Places in snapshot.call_sites, the heaviest first, at most so many.
[[nodiscard]] std::vector<std::size_t> audit_candidates(const Snapshot& snapshot,
                                                        const Policy& policy, std::size_t most);

// Suspects first, by live bytes; then what is worth knowing. Ages are taken at snapshot.taken_ns.
[[nodiscard]] std::vector<Finding> analyse(const Snapshot& snapshot, const Policy& policy);

}  // namespace tidemark::model
