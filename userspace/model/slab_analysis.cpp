// SPDX-License-Identifier: Apache-2.0
#include "model/slab_analysis.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace tidemark::model {
namespace {

bool is_near(const SlabCache& fewest, const SlabCache& most, double spread) {
  return static_cast<double>(most.active_objects - fewest.active_objects) <=
         spread * static_cast<double>(most.active_objects);
}

CacheGroup make_group(std::vector<const SlabCache*> caches) {
  CacheGroup group;
  group.fewest_objects = caches.front()->active_objects;
  group.most_objects = caches.back()->active_objects;
  for (const SlabCache* cache : caches) group.bytes += cache->bytes;
  std::ranges::sort(caches, std::greater(), &SlabCache::bytes);
  group.caches = std::move(caches);
  return group;
}

}  // namespace

std::vector<CacheGroup> find_cache_groups(const std::vector<SlabCache>& caches,
                                          const CacheGroupPolicy& policy) {
  std::vector<const SlabCache*> ascending;
  for (const SlabCache& cache : caches) {
    if (cache.active_objects >= policy.least_objects) ascending.push_back(&cache);
  }
  std::ranges::sort(ascending, std::less(), &SlabCache::active_objects);
  std::vector<CacheGroup> groups;
  for (std::size_t first = 0; first < ascending.size();) {
    std::size_t behind = first + 1;
    while (behind < ascending.size() &&
           is_near(*ascending[first], *ascending[behind], policy.spread)) {
      ++behind;
    }
    if (behind - first > 1) {
      CacheGroup group = make_group({ascending.begin() + static_cast<std::ptrdiff_t>(first),
                                     ascending.begin() + static_cast<std::ptrdiff_t>(behind)});
      if (group.bytes >= policy.least_bytes) groups.push_back(std::move(group));
    }
    first = behind;
  }
  std::ranges::sort(groups, std::greater(), &CacheGroup::bytes);
  return groups;
}

std::optional<std::string> kmalloc_class(std::string_view cache) {
  constexpr std::string_view kMark = "kmalloc-";
  const auto mark = cache.find(kMark);
  if (mark == std::string_view::npos || (mark != 0 && cache.substr(0, mark) != "dma-")) {
    return std::nullopt;
  }
  const std::string_view size = cache.substr(cache.rfind('-') + 1);
  // "8k", "256"
  const auto digits = size.find_first_not_of("0123456789");
  if (size.empty() || digits == 0) return std::nullopt;
  if (digits != std::string_view::npos && size.substr(digits) != "k") return std::nullopt;
  return fmt::format("kmalloc-{}", size);
}

std::vector<KmallocClass> sum_kmalloc_classes(const std::vector<SlabCache>& caches) {
  std::map<std::string, std::vector<const SlabCache*>> members;
  for (const SlabCache& cache : caches) {
    if (const auto name = kmalloc_class(cache.name)) members[*name].push_back(&cache);
  }
  std::vector<KmallocClass> classes;
  for (auto& [name, copies] : members) {
    std::ranges::sort(copies, std::greater(), &SlabCache::bytes);
    KmallocClass sum{.name = name, .bytes = 0, .active_objects = 0, .copies = {}};
    for (const SlabCache* copy : copies) {
      sum.bytes += copy->bytes;
      sum.active_objects += copy->active_objects;
      sum.copies.push_back(copy->name);
    }
    classes.push_back(std::move(sum));
  }
  std::ranges::sort(classes, std::greater(), &KmallocClass::bytes);
  return classes;
}

}  // namespace tidemark::model
