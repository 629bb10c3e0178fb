// SPDX-License-Identifier: Apache-2.0
#include "sources/mapping_book.h"

#include <linux/mman.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

#include "sources/heap_records.h"
#include "sources/pages.h"

namespace tidemark::sources {
namespace {

// From the first look on, not from the call: on a busy machine a record may be heard late.
constexpr uint64_t kPatienceNs = 100'000'000;
// A process that has just joined or called exec is probed in a moment; until then it cannot be said
// whether its allocator's own mappings have blocks in them that are counted.
constexpr uint64_t kProbingNs = 2'000'000'000;
// What is younger may have come after the image was read.
constexpr uint64_t kVerifiedAgeNs = 2'000'000'000;

std::string_view name_of(MappingCall call) {
  static constexpr std::array<std::string_view, 4> kNames = {"mmap", "mremap", "brk", "shmat"};
  return kNames[static_cast<std::size_t>(call)];
}

MappingSpace::Range pages_of(uint64_t start, uint64_t length) {
  const uint64_t end = start + length < start ? UINT64_MAX : start + length;
  return {page_down(start), page_up(end)};
}

model::Purpose purpose_of(const tm_mapping_record& call, const MappingStacks::Asked& asked) {
  const Requester requester = asked.requester;
  if (call.backing != 0 || asked.in_allocator) return model::Purpose::kHeapBacking;
  if (requester == Requester::kLoader) return model::Purpose::kLoader;
  if (call.op != TM_MAPPING_MAPPED) return model::Purpose::kNone;
  const bool anonymous = (call.flags & MAP_ANONYMOUS) != 0;
  // musl's linker maps files, and the zeroes behind them.
  const bool placed = !anonymous || (call.flags & MAP_FIXED) != 0;
  if (requester == Requester::kMuslOrLoader && placed) return model::Purpose::kLoader;
  if (!anonymous) return model::Purpose::kFile;
  return (call.flags & MAP_STACK) != 0 ? model::Purpose::kStack : model::Purpose::kNone;
}

MappingCall call_of(uint16_t op) {
  switch (op) {
    case TM_MAPPING_REMAPPED:
      return MappingCall::kMremap;
    case TM_MAPPING_BROKE:
      return MappingCall::kBrk;
    case TM_MAPPING_ATTACHED:
      return MappingCall::kShmat;
    default:
      return MappingCall::kMmap;
  }
}

void count(tm_count& counter, uint64_t bytes) {
  ++counter.count;
  counter.bytes += bytes;
}

template <typename Record>
bool take_from(std::span<const std::byte>& bytes, Record& record) {
  if (bytes.size() < sizeof(record)) return false;
  std::memcpy(&record, bytes.data(), sizeof(record));
  bytes = bytes.subspan(sizeof(record));
  return true;
}

}  // namespace

void MappingBook::hear(std::span<const std::byte> bytes) {
  MappingRecord heard;
  if (!take_from(bytes, heard.call)) return;
  if (heard.call.detail == TM_MAPPING_WITH_STACK) {
    // As far as it is filled, and what the kernel adds to make whole words.
    tm_stack& stack = heard.stack.emplace();
    std::memcpy(&stack, bytes.data(), std::min(bytes.size(), sizeof(stack)));
  } else if (heard.call.detail == TM_MAPPING_WITH_SAMPLE) {
    tm_sample_head head{};
    if (!take_from(bytes, head)) return;
    const auto kept = bytes.first(std::min<std::size_t>(head.size_bytes, bytes.size()));
    heard.sample.emplace(MappingRecord::Sample{head.start, {kept.begin(), kept.end()}});
  }
  heard_[model::Generation{heard.call.owner}].push_back(std::move(heard));
}

std::vector<model::Generation> MappingBook::without_allocators() const {
  std::vector<model::Generation> owners;
  for (const auto& [owner, heard] : heard_) {
    if (!heard.empty() && !stacks_.knows_allocators(owner)) owners.push_back(owner);
  }
  return owners;
}

Served MappingBook::settle(MonotonicTime now) {
  Served served = Served::kAll;
  for (auto& [owner, heard] : heard_) {
    const bool probed = stacks_.knows_allocators(owner);
    if (!probed && !heard.empty() && now.ns < heard.front().call.time_ns + kProbingNs) continue;
    if (!settle_one(heard, now)) served = Served::kMapsWanted;
  }
  return served;
}

void MappingBook::settle_all() {
  for (auto& [owner, heard] : heard_) (void)settle_one(heard, std::nullopt);
}

// False where a record has to wait; without a time none has.
bool MappingBook::settle_one(std::deque<MappingRecord>& heard, std::optional<MonotonicTime> now) {
  for (; !heard.empty(); heard.pop_front()) {
    MappingRecord& next = heard.front();
    MappingStacks::Asked asked = stacks_.resolve(next);
    if (asked.met_unknown_code && now) {
      if (!next.first_look) next.first_look = now;
      if (now->ns < next.first_look->ns + kPatienceNs) return false;
    }
    book(next, std::move(asked));
  }
  return true;
}

void MappingBook::book(const MappingRecord& record, MappingStacks::Asked asked) {
  MappingSpace& space = spaces_[model::Generation{record.call.owner}];
  switch (record.call.op) {
    case TM_MAPPING_MAPPED:
    case TM_MAPPING_REMAPPED:
    case TM_MAPPING_BROKE:
    case TM_MAPPING_ATTACHED:
      return book_new(space, record, std::move(asked));
    default:
      return book_end(space, record.call);
  }
}

void MappingBook::book_new(MappingSpace& space, const MappingRecord& record,
                           MappingStacks::Asked asked) {
  const tm_mapping_record& call = record.call;
  const Tid thread{call.tid};
  const model::Purpose purpose = purpose_of(call, asked);
  const MappingSpace::Origin origin{stacks_.keep(std::move(asked.stack)), call_of(call.op),
                                    purpose};
  if (call.op == TM_MAPPING_BROKE) {
    return space.end_break(thread, {call.start}, origin, call.time_ns);
  }
  const MappingSpace::Range place = pages_of(call.start, call.length);
  if (call.op == TM_MAPPING_REMAPPED) {
    // The old place stays, empty; so it is a mapping more.
    if ((call.flags & MREMAP_DONTUNMAP) != 0) space.undo(thread);
    return space.end_move(thread, place, origin, call.time_ns);
  }
  if (call.length == 0) return count(counts_.unknown_sizes, 0);
  const uint64_t replaced = space.map(place, origin, call.time_ns);
  // Nobody but MAP_FIXED is given a place that is taken.
  const bool may_replace = call.op == TM_MAPPING_ATTACHED || (call.flags & MAP_FIXED) != 0;
  if (replaced != 0 && !may_replace) count(counts_.missed_unmaps, replaced);
}

void MappingBook::book_end(MappingSpace& space, const tm_mapping_record& call) {
  const Tid thread{call.tid};
  uint64_t known_bytes = 1;
  switch (call.op) {
    case TM_MAPPING_UNMAP:
      known_bytes = space.unmap(thread, pages_of(call.start, call.length));
      break;
    case TM_MAPPING_REMAP:
      // A length of 0 doubles a shared mapping.
      known_bytes = space.begin_move(thread, pages_of(call.old_start, call.old_length));
      break;
    case TM_MAPPING_DETACH:
      known_bytes = space.detach(thread, {call.start});
      break;
    case TM_MAPPING_BREAK:
      known_bytes = space.begin_break(thread, {call.old_start}, {call.start});
      if (call.start >= call.old_start) known_bytes = 1;
      break;
    case TM_MAPPING_UNDO:
      space.undo(thread);
      break;
    case TM_MAPPING_STACK:
      space.use_as_stack({call.start}, (call.flags & CLONE_THREAD) != 0
                                           ? model::Purpose::kThreadStack
                                           : model::Purpose::kCloneStack);
      break;
    default:
      break;
  }
  if (known_bytes == 0) count(counts_.unmatched_unmaps, 0);
}

void MappingBook::forget(model::Generation generation) {
  (void)settle_one(heard_[generation], std::nullopt);
  heard_.erase(generation);
  const auto found = spaces_.find(generation);
  if (found == spaces_.end()) return;
  for (const MappingSpace::Live& live : found->second.live()) {
    if (model::is_apart(live.origin.purpose)) continue;
    uint64_t bytes = 0;
    for (const MappingSpace::Range& piece : live.pieces) bytes += piece.end - piece.start;
    count(counts_.dropped_at_exec, bytes);
  }
  found->second.drop_all();
}

void MappingBook::verify(model::Generation generation, const model::ProcessImage& image,
                         MonotonicTime now) {
  const auto found = spaces_.find(generation);
  if (found == spaces_.end() || now.ns < kVerifiedAgeNs) return;
  if (std::ranges::all_of(image.mappings, &model::Mapping::executable)) return;
  std::vector<MappingSpace::Range> mapped;
  for (const model::Mapping& mapping : image.mappings) {
    mapped.push_back({mapping.start.value, mapping.end.value});
  }
  const uint64_t dropped = found->second.retain(mapped, now.ns - kVerifiedAgeNs);
  if (dropped != 0) count(counts_.missed_unmaps, dropped);
}

void MappingBook::collect_space(model::Generation owner, const MappingSpace& space,
                                const Window& window, Collected& into) const {
  std::map<MappingSpace::Origin, model::CallSite> sites;
  for (const auto& [origin, sums] : space.sums()) {
    if (sums.total_count == 0) continue;
    model::CallSite& site = sites[origin];
    site.kind = model::Kind::kMapping;
    site.owner = owner;
    site.allocator = name_of(origin.call);
    site.purpose = origin.purpose;
    site.stack = origin.stack;
    site.total_bytes = sums.total_bytes;
    site.total_count = sums.total_count;
    site.freed_bytes = sums.freed_bytes;
    site.freed_count = sums.freed_count;
  }
  for (const MappingSpace::Live& live : space.live()) {
    model::CallSite& site = sites[live.origin];
    add_birth(site, window, live.birth_ns);
    site.ranges.insert(site.ranges.end(), live.pieces.begin(), live.pieces.end());
  }
  for (auto& [origin, site] : sites) {
    auto& list = model::is_apart(origin.purpose) ? into.apart : into.call_sites;
    list.push_back(std::move(site));
  }
}

void MappingBook::collect(const Window& window, Collected& into) const {
  for (const auto& [owner, space] : spaces_) collect_space(owner, space, window, into);
  for (const auto& [id, stack] : stacks_.all()) into.stacks.push_back(stack);
}

}  // namespace tidemark::sources
