// SPDX-License-Identifier: Apache-2.0
#include "model/kernel_snapshot.h"

#include <algorithm>
#include <cstdlib>
#include <tuple>

namespace tidemark::model {
namespace {

int64_t difference(uint64_t now, uint64_t before) {
  return static_cast<int64_t>(now - before);
}

// A cache that came or went meanwhile had no objects then.
std::optional<int64_t> kernel_gain(const std::string& cache, const KernelBooks& before,
                                   const KernelBooks& now) {
  if (!before.active_objects || !now.active_objects) return std::nullopt;
  const auto count = [&](const KernelBooks& books) {
    const auto found = books.active_objects->find(cache);
    return found == books.active_objects->end() ? 0 : found->second;
  };
  if (!before.active_objects->contains(cache) && !now.active_objects->contains(cache))
    return std::nullopt;
  return difference(count(now), count(before));
}

std::optional<double> trust_of(const CacheTally& tally) {
  const uint64_t frees = tally.freed_count + tally.old_frees;
  if (frees == 0) return std::nullopt;
  const uint64_t unseen = tally.missed_frees + tally.dropped_by_verification;
  return static_cast<double>(frees - std::min(unseen, frees)) / static_cast<double>(frees);
}

auto rank(const Reconciled& row) {
  return std::tuple(-std::abs(row.unseen().value_or(0)), -std::abs(row.gained_live_count),
                    row.cache);
}

}  // namespace

std::vector<Reconciled> reconcile_caches(const std::vector<CacheTally>& tallies,
                                         const KernelBooks& before, const KernelBooks& now) {
  std::map<std::string, CacheTally> by_name;
  for (const CacheTally& tally : tallies) {
    CacheTally& sum = by_name[tally.cache];
    sum.cache = tally.cache;
    sum.live_count += tally.live_count;
    sum.freed_count += tally.freed_count;
    sum.missed_frees += tally.missed_frees;
    sum.old_frees += tally.old_frees;
    sum.dropped_by_verification += tally.dropped_by_verification;
  }
  if (before.active_objects && now.active_objects) {
    for (const auto& [cache, count] : *now.active_objects) by_name[cache].cache = cache;
  }
  std::vector<Reconciled> rows;
  for (const auto& [cache, tally] : by_name) {
    Reconciled row;
    row.cache = cache;
    row.gained_live_count = difference(tally.live_count, tally.old_frees);
    row.gained_kernel_count = kernel_gain(cache, before, now);
    row.missed_frees = tally.missed_frees;
    row.dropped_by_verification = tally.dropped_by_verification;
    row.trust = trust_of(tally);
    const bool moved = row.gained_live_count != 0 || row.gained_kernel_count.value_or(0) != 0 ||
                       row.missed_frees + row.dropped_by_verification > 0;
    if (moved) rows.push_back(std::move(row));
  }
  std::ranges::sort(rows, {}, rank);
  return rows;
}

Reconciled reconcile_pages(const PageFlow& flow, const KernelBooks& before,
                           const KernelBooks& now) {
  Reconciled row;
  row.kind = Kind::kPage;
  row.gained_live_count = difference(flow.allocated_pages, flow.freed_pages);
  if (before.used_pages && now.used_pages)
    row.gained_kernel_count = difference(*now.used_pages, *before.used_pages);
  return row;
}

}  // namespace tidemark::model
