// SPDX-License-Identifier: Apache-2.0
//
// KernelCollector: what the source of kernel memory counted, set beside the kernel's own books,
// becomes a KernelSnapshot. Owns the source. Single-threaded.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/kernel_snapshot.h"
#include "sources/kernel_memory.h"
#include "support/clock.h"
#include "support/result.h"

namespace tidemark::collect {

// All names of each merged cache, by the name that slabinfo has.
using CacheAliases = std::map<std::string, std::vector<std::string>>;

// slabinfo and zoneinfo as they are now; what cannot be read is none. `spare`: objects by cache
// that slabinfo counts as active and that are free.
[[nodiscard]] model::KernelBooks read_kernel_books(const std::map<std::string, uint64_t>& spare);
[[nodiscard]] CacheAliases read_cache_aliases();
// The caches' own names for what a person typed: any alias will do. An error for a name that no
// cache has.
[[nodiscard]] Result<std::vector<std::string>> resolve_caches(
    const std::vector<std::string>& typed);

class KernelCollector {
 public:
  explicit KernelCollector(std::unique_ptr<sources::KernelMemory> source);

  // From here on everything is counted.
  [[nodiscard]] Status open_gate(MonotonicTime now, WallTime wall);
  // To be called about once a second.
  [[nodiscard]] Status tick(MonotonicTime now);
  // Verifies, and counts nothing any more; snapshots are exact from here on.
  [[nodiscard]] Status stop();
  [[nodiscard]] Result<model::KernelSnapshot> snapshot(MonotonicTime now);

 private:
  [[nodiscard]] Result<model::KernelBooks> read_books() const;

  std::unique_ptr<sources::KernelMemory> source_;
  model::KernelBooks before_;
  std::optional<model::KernelBooks> at_end_;
  MonotonicTime started_;
  WallTime started_wall_;
  std::optional<MonotonicTime> stopped_;
};

}  // namespace tidemark::collect
