// SPDX-License-Identifier: Apache-2.0
#include "model/snapshot.h"

#include <algorithm>
#include <iterator>

namespace tidemark::model {
namespace {

template <typename Choose>
void merge(std::optional<uint64_t>& into, const std::optional<uint64_t>& from, Choose choose) {
  if (from) into = into ? choose(*into, *from) : *from;
}

// Bounds of sums by sums of bounds: wider than need be, and right whatever the parts have in
// common.
void add_to(Estimate& into, const Estimate& from) {
  into.value += from.value;
  into.low += from.low;
  into.high += from.high;
}

void add_to(WindowFigures& into, const WindowFigures& from) {
  for (Estimate SiteEstimate::*part :
       {&SiteEstimate::birth_bytes_per_s, &SiteEstimate::births_per_s, &SiteEstimate::live_bytes,
        &SiteEstimate::leak_bytes_per_s})
    add_to(into.estimate.*part, from.estimate.*part);
  into.estimate.survival.clear();
  into.earlier_live_bytes += from.earlier_live_bytes;
  into.earlier_live_count += from.earlier_live_count;
  into.earlier_total_bytes += from.earlier_total_bytes;
  into.earlier_total_count += from.earlier_total_count;
}

}  // namespace

void add_to(CallSite& into, const CallSite& from) {
  into.total_bytes += from.total_bytes;
  into.total_count += from.total_count;
  into.freed_bytes += from.freed_bytes;
  into.freed_count += from.freed_count;
  merge(into.oldest_birth_ns, from.oldest_birth_ns,
        [](uint64_t a, uint64_t b) { return std::min(a, b); });
  merge(into.youngest_birth_ns, from.youngest_birth_ns,
        [](uint64_t a, uint64_t b) { return std::max(a, b); });
  into.live_usable_bytes = sum_if_known(into.live_usable_bytes, from.live_usable_bytes);
  add_resident(into.resident, from.resident);
  for (std::size_t i = 0; i < std::size(into.live_by_quarter); ++i) {
    into.live_by_quarter[i] += from.live_by_quarter[i];
  }
  into.live_variance += from.live_variance;
  into.of_several_processes |= from.of_several_processes;
  into.sample.offer(from.sample);
  into.histories.insert(into.histories.end(), from.histories.begin(), from.histories.end());
  into.live_histories.insert(into.live_histories.end(), from.live_histories.begin(),
                             from.live_histories.end());
  if (!from.windowed) return;
  if (!into.windowed) into.windowed.emplace();
  add_to(*into.windowed, *from.windowed);
}

uint64_t WindowFigures::live_error_bytes() const {
  const Estimate& live = estimate.live_bytes;
  return static_cast<uint64_t>(std::max(live.high - live.value, live.value - live.low)) +
         earlier_live_bytes;
}

}  // namespace tidemark::model
