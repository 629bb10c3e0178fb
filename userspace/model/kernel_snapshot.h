// SPDX-License-Identifier: Apache-2.0
//
// KernelSnapshot: what a trace of kernel memory saw up to one moment, beside what the kernel's own
// books say of the same time. Pure values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/snapshot.h"

namespace tidemark::model {

// Of one slab cache, by our own events since the trace began.
struct CacheTally {
  std::string cache;  // as slabinfo names it
  uint64_t live_count = 0;
  uint64_t freed_count = 0;  // of what was allocated since; missed and dropped ones included
  uint64_t missed_frees = 0;
  uint64_t old_frees = 0;  // of objects that were there before
  uint64_t dropped_by_verification = 0;
};

// Pages that passed through the page allocator's events, movable ones included.
struct PageFlow {
  uint64_t allocated_pages = 0;
  uint64_t freed_pages = 0;
};

// What the kernel counts itself, at one moment.
struct KernelBooks {
  std::optional<std::map<std::string, uint64_t>> active_objects;  // by slabinfo's name
  std::optional<uint64_t> used_pages;  // those on no free list; only differences mean something
};

// One line of "ours beside theirs".
struct Reconciled {
  Kind kind = Kind::kSlab;
  std::string cache;  // empty for pages
  std::vector<std::string> aliases;
  int64_t gained_live_count = 0;  // objects or pages: allocated less freed, by our events
  std::optional<int64_t> gained_kernel_count;
  uint64_t missed_frees = 0;
  uint64_t dropped_by_verification = 0;
  // Of the frees that must have been, the share that was seen; none where nothing was freed.
  std::optional<double> trust;

  // What no hook of ours saw, allocations less frees.
  [[nodiscard]] std::optional<int64_t> unseen() const {
    if (!gained_kernel_count) return std::nullopt;
    return *gained_kernel_count - gained_live_count;
  }
};

struct KernelSnapshot {
  Snapshot trace;  // no targets; owner 0
  std::vector<Reconciled> reconcile;
  std::map<std::string, std::vector<std::string>> aliases;  // all names of a merged cache
  // Stacks that stand for a call site whose blocks have several: how many more there are.
  std::map<StackId, uint64_t> other_stacks;
  std::map<StackId, uint64_t> stacks_since_ns;  // when capture was turned on for a call site
};

// Caches with the largest difference first, then by our own gain. Caches that neither side saw move
// are left out; without slabinfo all that we saw are told.
[[nodiscard]] std::vector<Reconciled> reconcile_caches(const std::vector<CacheTally>& tallies,
                                                       const KernelBooks& before,
                                                       const KernelBooks& now);

[[nodiscard]] Reconciled reconcile_pages(const PageFlow& flow, const KernelBooks& before,
                                         const KernelBooks& now);

}  // namespace tidemark::model
