// SPDX-License-Identifier: Apache-2.0
//
// GrowthSnapshot: whose resident set grew while all processes were watched, and from which call
// sites. Immutable; made by collect/, said by report/. Sizes are bytes, times monotonic ns.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/growth_trend.h"
#include "model/ids.h"
#include "model/snapshot.h"

namespace tidemark::model {

// What a process has in memory, as /proc/PID/status says, and what of it was swapped out.
struct ResidentSizes {
  uint64_t anonymous_bytes = 0;
  uint64_t file_bytes = 0;
  uint64_t shared_bytes = 0;
  uint64_t swap_bytes = 0;

  [[nodiscard]] uint64_t resident_bytes() const {
    return anonymous_bytes + file_bytes + shared_bytes;
  }
  // What the kernel cannot drop: it grows by the program's doing alone.
  [[nodiscard]] uint64_t kept_bytes() const { return anonymous_bytes + shared_bytes + swap_bytes; }
  friend bool operator==(const ResidentSizes&, const ResidentSizes&) = default;
};

struct PageFaults {
  uint64_t minor = 0;
  uint64_t major = 0;
};

// A process that was there when the snapshot was taken, and grew or shrank.
struct GrowthProcess {
  Pid pid;
  Generation owner;  // of its call sites
  std::string comm;
  bool started_meanwhile = false;  // then it began with nothing
  uint64_t watched_ns = 0;
  ResidentSizes first;
  ResidentSizes last;
  // All that it touched for the first time, whatever it gave back meanwhile; none where the kernel
  // does not tell.
  std::optional<uint64_t> touched_bytes;
  std::optional<PageFaults> faults;             // while it was watched
  std::optional<int64_t> heap_growth_bytes;     // address space by brk, since it grew first
  std::optional<int64_t> private_growth_bytes;  // private writable address space, brk included
  std::optional<GrowthTrend> trend;             // none: too short a time

  [[nodiscard]] int64_t growth_bytes() const {
    return static_cast<int64_t>(last.kept_bytes()) - static_cast<int64_t>(first.kept_bytes());
  }
};

// Those of a name that ended meanwhile.
struct EndedProcesses {
  std::string comm;
  uint64_t count = 0;
  uint64_t touched_bytes = 0;
};

// Resident memory; address space that came by brk, and by mmap or mprotect.
enum class GrowthKind { kAnonymous, kShared, kBrk, kMmap };

[[nodiscard]] constexpr bool is_address_space(GrowthKind kind) {
  return kind == GrowthKind::kBrk || kind == GrowthKind::kMmap;
}

// A place in a program that touches memory for the first time, or has been given address space;
// sums of samples, each weighed by what it stands for (sampling.h), with their variances in bytes².
struct GrowthSite {
  Generation owner;
  GrowthKind kind = GrowthKind::kAnonymous;
  StackId stack;
  bool in_syscall = false;  // the kernel touched it for the program
  uint64_t samples = 0;
  double touched_bytes = 0;  // of address space: gained
  double touched_variance = 0;
  // What of it is in memory (or swapped out) still; none where that is not known.
  std::optional<double> kept_bytes;
  double kept_variance = 0;
  uint64_t interval_bytes = 0;  // the longest that its samples, or its process's, were drawn by
};

// Whose call sites they are.
struct GrowthOwner {
  Generation generation;
  Pid pid;
  std::string comm;
  bool alive = false;
};

struct GrowthSnapshot {
  uint64_t started_ns = 0;
  uint64_t taken_ns = 0;
  uint64_t started_unix_ns = 0;
  uint64_t processes_watched = 0;
  // How far the kernel's figure of a resident set may be off; see docs/output-schema.md.
  uint64_t resident_error_bytes = 0;
  std::vector<GrowthProcess> processes;  // those whose size changed, fastest growth first
  std::vector<EndedProcesses> ended;     // most touched first
  std::vector<GrowthOwner> owners;       // of call sites
  std::vector<GrowthSite> call_sites;    // most kept first
  std::vector<Stack> stacks;
  std::vector<Counter> counters;
  std::vector<Coverage> coverage;
};

}  // namespace tidemark::model
