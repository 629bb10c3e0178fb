// SPDX-License-Identifier: Apache-2.0
//
// Snapshot: what was seen up to one moment, immutable. Made by collect/, judged by analysis, said
// by report/. Sums are bytes as requested from the allocator, not what it set aside. Times are
// monotonic nanoseconds (bpf_ktime_get_ns).
//
//   Snapshot ── targets      the address spaces that were traced
//            ├─ coverage     which hooks were on, which not and why
//            ├─ counters     what was lost, what is worth knowing
//            ├─ call_sites ── stack id ─┐
//            └─ stacks  <───────────────┘
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/audit.h"
#include "model/governor.h"
#include "model/ids.h"
#include "model/kernel_owner.h"
#include "model/own_clock.h"
#include "model/price_trim.h"
#include "model/window_estimate.h"

namespace tidemark::model {

enum class StackEnd {
  kBottom,      // the walk met the end of the stack
  kBroken,      // the frame-pointer chain ended or led nowhere: frames may be missing
  kDepthLimit,  // more frames than are kept
};

struct Stack {
  StackId id;
  StackEnd end = StackEnd::kBroken;
  bool guessed = false;         // cut where the way was not known yet: a whole one may tell it
  std::vector<Address> frames;  // return addresses, innermost (the allocator's caller) first
};

// What a mapping is for, as far as it is known.
enum class Purpose {
  kNone,
  kThreadStack,  // a thread runs, or ran, on it
  kCloneStack,   // clone() without CLONE_THREAD was given it
  kStack,        // MAP_STACK said so, but no task was seen to be given it
  kFile,         // of a file
  kHeapBacking,  // an allocator made it for blocks that are counted themselves
  kLoader,       // the dynamic linker made it: program and libraries
};

// Mappings of these are no call sites, and in no sum: they hold what is counted elsewhere.
[[nodiscard]] constexpr bool is_apart(Purpose purpose) {
  return purpose == Purpose::kHeapBacking || purpose == Purpose::kLoader;
}

struct AddressRange {
  uint64_t start = 0;
  uint64_t end = 0;  // first address behind it
  friend auto operator<=>(const AddressRange&, const AddressRange&) = default;
};

struct Resident {
  uint64_t bytes = 0;
  uint64_t anonymous_bytes = 0;  // of them
  friend bool operator==(const Resident&, const Resident&) = default;
};

// Of one unknown part the whole is unknown.
inline void add_resident(std::optional<Resident>& sum, const std::optional<Resident>& part) {
  if (!part) sum.reset();
  if (!sum) return;
  sum->bytes += part->bytes;
  sum->anonymous_bytes += part->anonymous_bytes;
}

// What tells call sites of kernel memory apart, beside the stack.
struct KernelPlace {
  std::string cache;  // name of the slab cache, one of its aliases; empty: none, or not known
  std::optional<uint32_t> order;      // of pages: a block is 2^order of them
  std::optional<uint32_t> gfp_flags;  // of pages
  friend auto operator<=>(const KernelPlace&, const KernelPlace&) = default;
};

// A block that a window saw and that is not known to be gone.
struct LiveHistory {
  LiveBlock block;
  BlockHistory history;
};

// Of a call site whose probes were there in windows only: what was recorded before, and what
// windows tell since.
struct WindowFigures {
  SiteEstimate estimate;  // of blocks that were born since windows began
  // Recorded before and not known to be gone: each may be by now.
  uint64_t earlier_live_bytes = 0;
  uint64_t earlier_live_count = 0;
  uint64_t earlier_total_bytes = 0;  // all that was allocated before
  uint64_t earlier_total_count = 0;
  // Half of the 95 % interval of live bytes.
  [[nodiscard]] uint64_t live_error_bytes() const;
};

// One call site of one owner: stack, kind, allocator and purpose. live = total - freed, in bytes
// and in count. A mapping is a block: it counts until its last byte is gone, its bytes are address
// space.
struct CallSite {
  Kind kind = Kind::kHeap;
  Generation owner;
  std::string allocator;  // "glibc", "mmap"; empty where it does not apply
  Purpose purpose = Purpose::kNone;
  StackId stack;
  KernelPlace place;  // of kernel kinds
  uint64_t total_bytes = 0;
  uint64_t total_count = 0;
  uint64_t freed_bytes = 0;
  uint64_t freed_count = 0;
  // What the allocator set aside for the live blocks; none where its size classes are not known, or
  // a call said more than a size.
  std::optional<uint64_t> live_usable_bytes;
  // Of the live blocks; none if no block is live.
  std::optional<uint64_t> oldest_birth_ns;
  std::optional<uint64_t> youngest_birth_ns;
  // Live blocks by the quarter of the trace in which they were born, oldest first. Where blocks
  // were sampled, these are the samples: evidence is as strong as they are many.
  uint64_t live_by_quarter[4] = {0, 0, 0, 0};
  // Of live_bytes(), in bytes²; 0 where every block was counted. See sampling.h.
  double live_variance = 0;
  // The sum over workers: `owner` is the first of them that was there.
  bool of_several_processes = false;
  // Where the live mappings are, until collect/ has looked how much of them is in memory; that is
  // none for the heap's blocks, and where it cannot be read.
  std::vector<AddressRange> ranges;
  std::optional<Resident> resident;
  BlockOwners owners;  // of kernel kinds
  // Where probes were there in windows only: each block that one saw, until collect/ has estimated
  // from them; then the sums above are estimates, too.
  std::vector<BlockHistory> histories;      // of those that are known to be gone
  std::vector<LiveHistory> live_histories;  // of the others
  std::optional<WindowFigures> windowed;
  BlockSample sample;  // of the heap's live blocks, until the audit has seen them
  // What the allocator's own books say of some of its blocks; none where they were not asked.
  std::optional<AuditShares> audit;
  // Of its blocks of one size, how often two have the same content; none where it is not known.
  std::optional<double> same_by_chance;

  [[nodiscard]] uint64_t live_bytes() const { return total_bytes - freed_bytes; }
  [[nodiscard]] uint64_t live_count() const { return total_count - freed_count; }
};

// Adds what another call site counted.
void add_to(CallSite& into, const CallSite& from);

// Of two parts of a sum: known if both are.
[[nodiscard]] inline std::optional<uint64_t> sum_if_known(std::optional<uint64_t> one,
                                                          std::optional<uint64_t> other) {
  if (!one || !other) return std::nullopt;
  return *one + *other;
}

enum class CounterKind { kLoss, kNote };

// A row of bpf/abi/counters.def with its value.
struct Counter {
  std::string name;
  CounterKind kind = CounterKind::kLoss;
  uint64_t count = 0;
  std::optional<uint64_t> bytes;
  std::string meaning;
};

enum class HookState { kOn, kOff, kMissing };

struct Coverage {
  std::string hook;
  HookState state = HookState::kOff;
  std::optional<std::string> reason;
};

struct AllocatorUse {
  std::string name;    // "glibc"
  std::string module;  // path as the target sees it
  uint64_t probes = 0;
  std::optional<uint64_t> hits;  // none where the probes are shared with other processes
};

struct Target {
  Pid pid;
  Generation generation;
  std::string comm;
  std::string exe;
  bool alive = true;
  std::optional<int> exit_code;  // as a shell says it: 128 + signal where it was killed
  std::optional<uint64_t> rss_anon_start_bytes;
  std::optional<uint64_t> rss_anon_end_bytes;
  uint64_t joined_ns = 0;       // a trace that ran already; 0: it was there at the start
  uint64_t writable_bytes = 0;  // of its address space, all that a heap may be in
  std::vector<AllocatorUse> allocators;
  // Where no probe was hit: pairs of functions that may be its allocator, by their names.
  std::vector<std::string> candidates;
};

// The windows of a trace that was paused at times.
struct WindowFacts {
  uint64_t began_ns = 0;  // with the first pause: all was seen until then
  std::vector<Window> windows;
  uint32_t sampling_interval_bytes = 0;  // the longest that one had
  OwnClock clock;                        // of the targets; collect/ adds it
  PriceTrim::Reach reach;                // of what is told per own time
  // Up to this age frees could be seen; none while there are too few windows to estimate from.
  std::optional<double> exposure_age_ns;
  std::string too_few;  // why there are no estimates
};

struct Snapshot {
  uint64_t started_ns = 0;  // when all probes were on
  uint64_t taken_ns = 0;
  uint64_t started_unix_ns = 0;
  std::optional<GovernorAccount> budget;  // where one was to be kept
  std::optional<WindowFacts> windows;     // where the trace was paused
  std::vector<Target> targets;
  std::vector<Coverage> coverage;
  std::vector<Counter> counters;
  std::vector<CallSite> call_sites;
  std::vector<CallSite> apart;  // mappings whose purpose is_apart(), without stacks
  std::vector<Stack> stacks;
  std::optional<AuditCost> audit_cost;  // none where nothing was audited
};

}  // namespace tidemark::model
