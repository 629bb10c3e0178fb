// SPDX-License-Identifier: Apache-2.0
//
// What slab caches say when they are looked at together. Pure.
//
// Caches whose object counts are the same to a tenth of a percent are most often one thing: an
// object of each for every packet, file or request. And a size class of kmalloc may be spread over
// copies (kmalloc-rnd-05-256, kmalloc-cg-256), each of which looks harmless.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/memory.h"

namespace tidemark::model {

// One suspect object graph.
struct CacheGroup {
  std::vector<const SlabCache*> caches;  // widest first; of the list that was analysed
  uint64_t fewest_objects = 0;
  uint64_t most_objects = 0;
  uint64_t bytes = 0;
};

struct CacheGroupPolicy {
  double spread = 0.001;               // (most - fewest) / most
  uint64_t least_objects = 10'000;     // below it, equal counts are chance
  uint64_t least_bytes = 16ull << 20;  // of the group
};

// Widest first. A cache is in one group at most.
[[nodiscard]] std::vector<CacheGroup> find_cache_groups(const std::vector<SlabCache>& caches,
                                                        const CacheGroupPolicy& policy);

// All copies of one kmalloc size class.
struct KmallocClass {
  std::string name;  // "kmalloc-256"
  uint64_t bytes = 0;
  uint64_t active_objects = 0;
  std::vector<std::string> copies;  // names of the caches, widest first
};

// "kmalloc-256" of "kmalloc-rnd-05-256", "kmalloc-cg-256", "kmalloc-rcl-256", "dma-kmalloc-256";
// none for another cache.
[[nodiscard]] std::optional<std::string> kmalloc_class(std::string_view cache);

// Widest first; those with one copy too.
[[nodiscard]] std::vector<KmallocClass> sum_kmalloc_classes(const std::vector<SlabCache>& caches);

}  // namespace tidemark::model
