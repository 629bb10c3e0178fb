// SPDX-License-Identifier: Apache-2.0
#include "sources/mapping_space.h"

#include <algorithm>
#include <utility>

#include "sources/pages.h"

namespace tidemark::sources {
namespace {

// Calls that may be under way at the same time.
constexpr std::size_t kMaxPending = 16384;

uint64_t size_of(const MappingSpace::Range& range) {
  return range.end > range.start ? range.end - range.start : 0;
}

}  // namespace

// A piece that reaches over `address` becomes two.
void MappingSpace::split_at(uint64_t address) {
  auto next = pieces_.upper_bound(address);
  if (next == pieces_.begin()) return;
  auto& [start, piece] = *std::prev(next);
  if (start == address || piece.end <= address) return;
  pieces_.emplace_hint(next, address, Piece{std::exchange(piece.end, address), piece.mapping});
}

std::vector<std::pair<MappingSpace::Range, MappingSpace::Shared>> MappingSpace::take(Range range) {
  std::vector<std::pair<Range, Shared>> taken;
  if (size_of(range) == 0) return taken;
  split_at(range.start);
  split_at(range.end);
  const auto first = pieces_.lower_bound(range.start);
  const auto behind = pieces_.lower_bound(range.end);
  for (auto each = first; each != behind; ++each) {
    auto& [start, piece] = *each;
    count_gone(*piece.mapping, piece.end - start);
    taken.emplace_back(Range{start, piece.end}, std::move(piece.mapping));
  }
  pieces_.erase(first, behind);
  return taken;
}

void MappingSpace::count_gone(Mapping& mapping, uint64_t bytes) {
  mapping.live_bytes -= bytes;
  Sums& sums = sums_[mapping.origin];
  sums.freed_bytes += bytes;
  if (mapping.live_bytes == 0) ++sums.freed_count;
}

void MappingSpace::put_back(const Range& range, const Shared& mapping) {
  Sums& sums = sums_[mapping->origin];
  if (mapping->live_bytes == 0) --sums.freed_count;
  mapping->live_bytes += size_of(range);
  sums.freed_bytes -= size_of(range);
  // What came to lie there meanwhile would be the newer truth; there is none where the call failed.
  (void)take(range);
  pieces_[range.start] = {range.end, mapping};
}

void MappingSpace::insert(Range range, const Origin& origin, uint64_t birth_ns) {
  const uint64_t bytes = size_of(range);
  if (bytes == 0) return;
  auto mapping = std::make_shared<Mapping>(Mapping{.origin = origin,
                                                   .birth_ns = birth_ns,
                                                   .total_bytes = bytes,
                                                   .live_bytes = bytes,
                                                   .start = range.start});
  pieces_[range.start] = {range.end, std::move(mapping)};
  Sums& sums = sums_[origin];
  sums.total_bytes += bytes;
  ++sums.total_count;
}

uint64_t MappingSpace::map(Range range, const Origin& origin, uint64_t birth_ns) {
  uint64_t replaced = 0;
  for (const auto& [gone, mapping] : take(range)) replaced += size_of(gone);
  insert(range, origin, birth_ns);
  return replaced;
}

// What the thread's last call took is gone for good by now.
uint64_t MappingSpace::begin(Tid thread, std::vector<std::pair<Range, Shared>> taken) {
  uint64_t bytes = 0;
  for (const auto& [range, mapping] : taken) bytes += size_of(range);
  // Threads come and go, and nobody tells that a call succeeded.
  if (pending_.size() > 2 * kMaxPending) {
    std::erase_if(pending_,
                  [&](const auto& each) { return each.second.call + kMaxPending < calls_; });
  }
  if (taken.empty()) {
    pending_.erase(thread);
  } else {
    pending_[thread] = {.taken = std::move(taken), .old_break = 0, .call = calls_};
  }
  ++calls_;
  return bytes;
}

uint64_t MappingSpace::unmap(Tid thread, Range range) {
  return begin(thread, take(range));
}

uint64_t MappingSpace::begin_move(Tid thread, Range old_place) {
  return begin(thread, take(old_place));
}

void MappingSpace::end_move(Tid thread, Range place, const Origin& origin, uint64_t now_ns) {
  uint64_t birth_ns = now_ns;
  Origin moved = origin;
  if (const auto found = pending_.find(thread); found != pending_.end()) {
    for (const auto& [range, mapping] : found->second.taken) {
      birth_ns = std::min(birth_ns, mapping->birth_ns);
      // A heap's backing or a stack that moves is one still.
      if (moved.purpose == model::Purpose::kNone) moved.purpose = mapping->origin.purpose;
    }
    pending_.erase(found);
  }
  map(place, moved, birth_ns);
}

uint64_t MappingSpace::detach(Tid thread, model::Address start) {
  const auto found = pieces_.find(start.value);
  if (found == pieces_.end() || found->second.mapping->start != start.value) {
    return begin(thread, {});
  }
  const Shared mapping = found->second.mapping;
  std::vector<Range> ranges;
  for (auto each = found; each != pieces_.end(); ++each) {
    if (each->second.mapping == mapping) ranges.push_back({each->first, each->second.end});
  }
  std::vector<std::pair<Range, Shared>> taken;
  for (const Range& range : ranges) std::ranges::move(take(range), std::back_inserter(taken));
  return begin(thread, std::move(taken));
}

uint64_t MappingSpace::begin_break(Tid thread, model::Address before, model::Address wanted) {
  const uint64_t bytes = begin(thread, take({page_up(wanted.value), page_up(before.value)}));
  Pending& pending = pending_[thread];
  pending.old_break = before.value;
  pending.call = calls_;
  return bytes;
}

// A brk() that fails returns the break as it is.
void MappingSpace::end_break(Tid thread, model::Address now, const Origin& origin,
                             uint64_t now_ns) {
  const auto found = pending_.find(thread);
  if (found == pending_.end() || found->second.old_break == 0) return;
  const uint64_t before = found->second.old_break;
  if (now.value == before) return undo(thread);
  pending_.erase(found);
  if (now.value > before) map({page_up(before), page_up(now.value)}, origin, now_ns);
}

void MappingSpace::undo(Tid thread) {
  const auto found = pending_.find(thread);
  if (found == pending_.end()) return;
  const Pending failed = std::move(found->second);
  pending_.erase(found);
  for (const auto& [range, mapping] : failed.taken) put_back(range, mapping);
}

void MappingSpace::use_as_stack(model::Address address, model::Purpose purpose) {
  const auto next = pieces_.upper_bound(address.value);
  if (next == pieces_.begin() || std::prev(next)->second.end <= address.value) return;
  Mapping& mapping = *std::prev(next)->second.mapping;
  if (mapping.origin.purpose == purpose) return;
  const uint64_t gone_bytes = mapping.total_bytes - mapping.live_bytes;
  Sums& from = sums_[mapping.origin];
  from.total_bytes -= mapping.total_bytes;
  from.freed_bytes -= gone_bytes;
  --from.total_count;
  mapping.origin.purpose = purpose;
  Sums& into = sums_[mapping.origin];
  into.total_bytes += mapping.total_bytes;
  into.freed_bytes += gone_bytes;
  ++into.total_count;
}

uint64_t MappingSpace::retain(std::span<const Range> mapped, uint64_t born_before_ns) {
  std::vector<Range> gone;
  for (const auto& [start, piece] : pieces_) {
    if (piece.mapping->birth_ns >= born_before_ns) continue;
    uint64_t at = start;
    for (const Range& there : mapped) {
      if (there.end <= at) continue;
      if (there.start >= piece.end) break;
      if (there.start > at) gone.push_back({at, there.start});
      at = there.end;
    }
    if (at < piece.end) gone.push_back({at, piece.end});
  }
  uint64_t bytes = 0;
  for (const Range& range : gone) {
    (void)take(range);
    bytes += size_of(range);
  }
  return bytes;
}

void MappingSpace::drop_all() {
  (void)take({0, UINT64_MAX});
  pending_.clear();
}

std::vector<MappingSpace::Live> MappingSpace::live() const {
  std::map<const Mapping*, std::size_t> index;
  std::vector<Live> result;
  for (const auto& [start, piece] : pieces_) {
    const auto [place, is_new] = index.try_emplace(piece.mapping.get(), result.size());
    if (is_new) result.push_back({piece.mapping->origin, piece.mapping->birth_ns, {}});
    result[place->second].pieces.push_back({start, piece.end});
  }
  return result;
}

}  // namespace tidemark::sources
