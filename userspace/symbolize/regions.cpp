// SPDX-License-Identifier: Apache-2.0
#include "symbolize/regions.h"

#include <utility>

namespace tidemark::symbolize {

void Regions::add(Region region) {
  if (region.start >= region.end) return;
  const auto same = regions_.find(region.start);
  if (same != regions_.end() && same->second == region) return;
  cut_out(region.start, region.end);
  const model::Address start = region.start;
  regions_.insert_or_assign(start, std::move(region));
}

const Region* Regions::at(model::Address address) const {
  const auto behind = regions_.upper_bound(address);
  if (behind == regions_.begin()) return nullptr;
  const Region& region = std::prev(behind)->second;
  return address < region.end ? &region : nullptr;
}

void Regions::cut_out(model::Address start, model::Address end) {
  auto next = regions_.upper_bound(start);
  if (next != regions_.begin()) --next;
  while (next != regions_.end() && next->second.start < end) {
    if (next->second.end <= start) {
      ++next;
      continue;
    }
    const Region old = next->second;
    next = regions_.erase(next);
    if (old.start < start) {
      Region left = old;
      left.end = start;
      regions_.insert_or_assign(left.start, std::move(left));
    }
    if (old.end > end) {
      Region right = old;
      right.file_offset_bytes += end.value - old.start.value;
      right.start = end;
      regions_.insert_or_assign(end, std::move(right));
    }
  }
}

}  // namespace tidemark::symbolize
