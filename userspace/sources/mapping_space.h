// SPDX-License-Identifier: Apache-2.0
//
// MappingSpace: the mappings that one address space made since the trace began, as intervals, and
// what each call site made and gave back. Pure: it is told of calls in the order in which they took
// effect. Whole pages. Single-threaded.
//
//   [ A ][ A ]   [   B   ]     pieces: disjoint ranges, each of one mapping
//     \___|          |
//      mapping A   mapping B   counts once at its call site, as long as a byte of it is there
//
// What a call takes away leaves when the call begins, since another thread may be given the place
// before it returns; undo() puts it back where the call has failed.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "model/ids.h"
#include "model/snapshot.h"

namespace tidemark::sources {

enum class MappingCall { kMmap, kMremap, kBrk, kShmat };

using Tid = Strong<struct TidTag, uint32_t>;

class MappingSpace {
 public:
  using Range = model::AddressRange;

  // What makes two mappings one row.
  struct Origin {
    model::StackId stack;
    MappingCall call = MappingCall::kMmap;
    model::Purpose purpose = model::Purpose::kNone;
    friend auto operator<=>(const Origin&, const Origin&) = default;
  };
  struct Sums {
    uint64_t total_bytes = 0;
    uint64_t total_count = 0;
    uint64_t freed_bytes = 0;
    uint64_t freed_count = 0;
  };
  struct Live {
    Origin origin;
    uint64_t birth_ns = 0;
    std::vector<Range> pieces;  // ascending
  };

  // A new mapping; what was there is gone. Returns the bytes of ours that were.
  uint64_t map(Range range, const Origin& origin, uint64_t birth_ns);
  // A call of this thread begins that gives the range back. Returns the bytes of ours in it.
  uint64_t unmap(Tid thread, Range range);
  // mremap() begins ...
  uint64_t begin_move(Tid thread, Range old_place);
  // ... and is done. The new mapping has the age of the oldest of what was moved.
  void end_move(Tid thread, Range place, const Origin& origin, uint64_t now_ns);
  // shmdt(): all that is left of the mapping that begins there.
  uint64_t detach(Tid thread, model::Address start);
  // brk() begins, and is done. The break need not be at a page.
  uint64_t begin_break(Tid thread, model::Address before, model::Address wanted);
  void end_break(Tid thread, model::Address now, const Origin& origin, uint64_t now_ns);
  // The thread's last call has failed (or leaves the old place mapped): what it took is put back.
  void undo(Tid thread);
  // A new task was given a stack here: the mapping's purpose, from now on.
  void use_as_stack(model::Address address, model::Purpose purpose);
  // After records were lost: what is not mapped any more is gone, as far as it is older than that.
  // Ranges ascend. Returns the bytes that were dropped.
  uint64_t retain(std::span<const Range> mapped, uint64_t born_before_ns);
  // The whole space is gone (exec).
  void drop_all();

  [[nodiscard]] const std::map<Origin, Sums>& sums() const { return sums_; }
  [[nodiscard]] std::vector<Live> live() const;

 private:
  struct Mapping {
    Origin origin;
    uint64_t birth_ns = 0;
    uint64_t total_bytes = 0;
    uint64_t live_bytes = 0;
    uint64_t start = 0;
  };
  using Shared = std::shared_ptr<Mapping>;
  struct Piece {
    uint64_t end = 0;
    Shared mapping;
  };
  using Pieces = std::map<uint64_t, Piece>;  // by start; disjoint
  // What the thread's last call took, and where the break was before it.
  struct Pending {
    std::vector<std::pair<Range, Shared>> taken;
    uint64_t old_break = 0;
    uint64_t call = 0;  // its number
  };

  void split_at(uint64_t address);
  [[nodiscard]] std::vector<std::pair<Range, Shared>> take(Range range);
  uint64_t begin(Tid thread, std::vector<std::pair<Range, Shared>> taken);
  void put_back(const Range& range, const Shared& mapping);
  void count_gone(Mapping& mapping, uint64_t bytes);
  void insert(Range range, const Origin& origin, uint64_t birth_ns);

  Pieces pieces_;
  std::map<Origin, Sums> sums_;
  std::map<Tid, Pending> pending_;
  uint64_t calls_ = 0;
};

}  // namespace tidemark::sources
