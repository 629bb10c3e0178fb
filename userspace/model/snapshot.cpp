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
  into.of_several_processes |= from.of_several_processes;
}

}  // namespace tidemark::model
