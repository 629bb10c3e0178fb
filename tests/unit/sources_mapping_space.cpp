// SPDX-License-Identifier: Apache-2.0
//
// MappingSpace: calls in, intervals and sums out.
#include "sources/mapping_space.h"

#include <doctest/doctest.h>

#include "sources/pages.h"

using namespace tidemark;
using model::Purpose;
using sources::MappingCall;
using sources::MappingSpace;
using sources::Tid;
using Range = MappingSpace::Range;

namespace {

constexpr Tid kThread{10};
constexpr Tid kOther{11};

MappingSpace::Origin origin_of(uint64_t stack, MappingCall call = MappingCall::kMmap,
                               Purpose purpose = Purpose::kNone) {
  return {model::StackId{stack}, call, purpose};
}

Range pages(uint64_t first, uint64_t count) {
  return {first * sources::page_bytes(), (first + count) * sources::page_bytes()};
}

model::Address page(uint64_t number) {
  return {number * sources::page_bytes()};
}

uint64_t bytes(uint64_t count) {
  return count * sources::page_bytes();
}

// The sums of a call site, in pages.
struct Counted {
  uint64_t total = 0, total_count = 0, freed = 0, freed_count = 0;
  friend bool operator==(const Counted&, const Counted&) = default;
};

Counted counted(const MappingSpace& space, const MappingSpace::Origin& origin) {
  const auto found = space.sums().find(origin);
  if (found == space.sums().end()) return {};
  const auto& sums = found->second;
  const uint64_t page_size = sources::page_bytes();
  return {sums.total_bytes / page_size, sums.total_count, sums.freed_bytes / page_size,
          sums.freed_count};
}

std::vector<Range> pieces(const MappingSpace& space) {
  std::vector<Range> all;
  for (const auto& live : space.live())
    all.insert(all.end(), live.pieces.begin(), live.pieces.end());
  return all;
}

// live = total - freed, at every call site.
bool adds_up(const MappingSpace& space) {
  std::map<MappingSpace::Origin, std::pair<uint64_t, uint64_t>> live;
  for (const auto& each : space.live()) {
    for (const Range& range : each.pieces) live[each.origin].first += range.end - range.start;
    ++live[each.origin].second;
  }
  for (const auto& [origin, sums] : space.sums()) {
    if (live[origin].first != sums.total_bytes - sums.freed_bytes) return false;
    if (live[origin].second != sums.total_count - sums.freed_count) return false;
  }
  return true;
}

}  // namespace

TEST_CASE(
    "mapping space: unmap of a part leaves the rest, and the mapping counts until all is gone") {
  MappingSpace space;
  const auto a = origin_of(1);
  space.map(pages(10, 10), a, 100);
  CHECK(space.unmap(kThread, pages(13, 2)) == bytes(2));
  CHECK(pieces(space) == std::vector<Range>{pages(10, 3), pages(15, 5)});
  CHECK(counted(space, a) == Counted{10, 1, 2, 0});
  CHECK(space.unmap(kThread, pages(0, 13)) == bytes(3));
  CHECK(space.unmap(kThread, pages(15, 100)) == bytes(5));
  CHECK(counted(space, a) == Counted{10, 1, 10, 1});
  CHECK(pieces(space).empty());
  CHECK(adds_up(space));
}

TEST_CASE("mapping space: one unmap over several mappings and the gaps between them") {
  MappingSpace space;
  const auto a = origin_of(1);
  const auto b = origin_of(2);
  space.map(pages(10, 4), a, 100);
  space.map(pages(20, 4), b, 100);
  CHECK(space.unmap(kThread, pages(12, 10)) == bytes(4));
  CHECK(pieces(space) == std::vector<Range>{pages(10, 2), pages(22, 2)});
  CHECK(counted(space, a) == Counted{4, 1, 2, 0});
  CHECK(counted(space, b) == Counted{4, 1, 2, 0});
  CHECK(space.unmap(kThread, pages(30, 4)) == 0);
  CHECK(space.unmap(kThread, {}) == 0);
  CHECK(adds_up(space));
}

TEST_CASE("mapping space: a mapping over old ones takes their place") {
  MappingSpace space;
  const auto a = origin_of(1);
  const auto b = origin_of(2);
  space.map(pages(10, 10), a, 100);
  CHECK(space.map(pages(12, 3), b, 200) == bytes(3));
  CHECK(counted(space, a) == Counted{10, 1, 3, 0});
  CHECK(counted(space, b) == Counted{3, 1, 0, 0});
  CHECK(space.live().size() == 2);
  CHECK(space.map(pages(0, 100), b, 300) == bytes(10));
  CHECK(counted(space, a) == Counted{10, 1, 10, 1});
  CHECK(counted(space, b) == Counted{103, 2, 3, 1});
  CHECK(adds_up(space));
}

TEST_CASE("mapping space: what a failed call took is put back, its age too") {
  MappingSpace space;
  const auto a = origin_of(1);
  space.map(pages(10, 4), a, 100);
  SUBCASE("of one mapping") {
    CHECK(space.unmap(kThread, pages(11, 2)) == bytes(2));
  }
  SUBCASE("all of it") {
    CHECK(space.unmap(kThread, pages(0, 100)) == bytes(4));
    CHECK(counted(space, a) == Counted{4, 1, 4, 1});
  }
  SUBCASE("mremap") {
    CHECK(space.begin_move(kThread, pages(10, 4)) == bytes(4));
  }
  space.unmap(kOther, pages(50, 1));  // another thread's call does not touch it
  space.undo(kOther);
  space.undo(kThread);
  CHECK(counted(space, a) == Counted{4, 1, 0, 0});
  CHECK(space.live().at(0).birth_ns == 100);
  CHECK(adds_up(space));
  space.undo(kThread);  // once only
  CHECK(adds_up(space));
}

TEST_CASE("mapping space: another thread may be given the place before munmap returns") {
  MappingSpace space;
  const auto a = origin_of(1);
  const auto b = origin_of(2);
  space.map(pages(10, 4), a, 100);
  space.unmap(kThread, pages(10, 4));
  CHECK(space.map(pages(10, 4), b, 200) == 0);
  space.unmap(kThread, pages(70, 1));
  CHECK(counted(space, a) == Counted{4, 1, 4, 1});
  CHECK(counted(space, b) == Counted{4, 1, 0, 0});
}

TEST_CASE("mapping space: mremap keeps the age and belongs to its own call site") {
  MappingSpace space;
  const auto a = origin_of(1);
  const auto m = origin_of(2, MappingCall::kMremap);
  space.map(pages(10, 4), a, 100);
  CHECK(space.begin_move(kThread, pages(10, 4)) == bytes(4));
  SUBCASE("moves and grows") {
    space.end_move(kThread, pages(50, 8), m, 300);
    CHECK(pieces(space) == std::vector<Range>{pages(50, 8)});
    CHECK(counted(space, m) == Counted{8, 1, 0, 0});
  }
  SUBCASE("shrinks in place") {
    space.end_move(kThread, pages(10, 1), m, 300);
    CHECK(pieces(space) == std::vector<Range>{pages(10, 1)});
    CHECK(counted(space, m) == Counted{1, 1, 0, 0});
  }
  CHECK(counted(space, a) == Counted{4, 1, 4, 1});
  CHECK(space.live().at(0).birth_ns == 100);
  CHECK(adds_up(space));
}

TEST_CASE("mapping space: mremap of what is not known, onto what is") {
  MappingSpace space;
  const auto a = origin_of(1);
  const auto m = origin_of(2, MappingCall::kMremap);
  space.map(pages(50, 4), a, 100);
  CHECK(space.begin_move(kThread, pages(10, 2)) == 0);
  space.end_move(kThread, pages(51, 2), m, 300);
  CHECK(counted(space, a) == Counted{4, 1, 2, 0});
  CHECK(counted(space, m) == Counted{2, 1, 0, 0});
  CHECK(space.live().at(1).birth_ns == 300);
}

TEST_CASE("mapping space: mremap of a part leaves the rest where it was") {
  MappingSpace space;
  const auto a = origin_of(1);
  const auto m = origin_of(2, MappingCall::kMremap);
  space.map(pages(10, 6), a, 100);
  space.begin_move(kThread, pages(12, 2));
  space.end_move(kThread, pages(80, 3), m, 300);
  CHECK(pieces(space) == std::vector<Range>{pages(10, 2), pages(14, 2), pages(80, 3)});
  CHECK(counted(space, a) == Counted{6, 1, 2, 0});
  CHECK(adds_up(space));
}

TEST_CASE("mapping space: the break grows and shrinks, not only by pages") {
  MappingSpace space;
  const auto b = origin_of(3, MappingCall::kBrk);
  space.begin_break(kThread, {page(100).value + 5}, {page(103).value + 5});
  space.end_break(kThread, {page(103).value + 5}, b, 100);
  CHECK(pieces(space) == std::vector<Range>{pages(101, 3)});
  CHECK(space.begin_break(kThread, {page(103).value + 5}, {page(102).value + 1}) == bytes(1));
  space.end_break(kThread, {page(102).value + 1}, b, 200);
  CHECK(counted(space, b) == Counted{3, 1, 1, 0});
  // Within the page: nothing changes.
  space.begin_break(kThread, {page(102).value + 1}, {page(102).value + 9});
  space.end_break(kThread, {page(102).value + 9}, b, 300);
  CHECK(counted(space, b) == Counted{3, 1, 1, 0});
  // Refused: the break stays.
  space.begin_break(kThread, {page(102).value + 9}, {page(101).value});
  space.end_break(kThread, {page(102).value + 9}, b, 400);
  CHECK(counted(space, b) == Counted{3, 1, 1, 0});
  // Below where the trace began.
  space.begin_break(kThread, {page(103).value}, {page(90).value});
  space.end_break(kThread, {page(90).value}, b, 500);
  CHECK(counted(space, b) == Counted{3, 1, 3, 1});
  CHECK(adds_up(space));
}

TEST_CASE("mapping space: an end without its beginning changes nothing") {
  MappingSpace space;
  space.end_break(kThread, page(50), origin_of(3), 100);
  space.undo(kThread);
  CHECK(space.sums().empty());
}

TEST_CASE("mapping space: shmdt takes what is left of that mapping") {
  MappingSpace space;
  const auto s = origin_of(4, MappingCall::kShmat);
  space.map(pages(10, 6), s, 100);
  space.map(pages(20, 6), s, 100);
  space.unmap(kThread, pages(12, 1));
  CHECK(space.detach(kThread, page(13)) == 0);  // not where it was attached
  CHECK(space.detach(kThread, page(10)) == bytes(5));
  CHECK(counted(space, s) == Counted{12, 2, 6, 1});
  space.undo(kThread);
  CHECK(counted(space, s) == Counted{12, 2, 1, 0});
  CHECK(space.detach(kThread, page(99)) == 0);
  CHECK(adds_up(space));
}

TEST_CASE("mapping space: a stack is known by the task that gets it") {
  MappingSpace space;
  const auto plain = origin_of(1);
  const auto stack = origin_of(1, MappingCall::kMmap, Purpose::kThreadStack);
  space.map(pages(10, 4), plain, 100);
  space.map(pages(20, 4), plain, 100);
  space.unmap(kThread, pages(10, 1));
  space.use_as_stack({page(14).value - 1}, Purpose::kThreadStack);
  CHECK(counted(space, plain) == Counted{4, 1, 0, 0});
  CHECK(counted(space, stack) == Counted{4, 1, 1, 0});
  space.use_as_stack({page(14).value - 1}, Purpose::kThreadStack);
  space.use_as_stack(page(90), Purpose::kThreadStack);
  space.use_as_stack(page(5), Purpose::kThreadStack);
  CHECK(counted(space, stack) == Counted{4, 1, 1, 0});
  CHECK(adds_up(space));
}

TEST_CASE("mapping space: after a loss, only what is still mapped stays") {
  MappingSpace space;
  const auto a = origin_of(1);
  space.map(pages(10, 4), a, 100);
  space.map(pages(20, 4), a, 100);
  space.map(pages(30, 4), a, 900);
  const std::vector<Range> mapped = {pages(0, 11), pages(12, 1), pages(21, 100)};
  CHECK(space.retain(mapped, 500) == bytes(3));
  CHECK(pieces(space) ==
        std::vector<Range>{pages(10, 1), pages(12, 1), pages(21, 3), pages(30, 4)});
  CHECK(space.retain({}, 500) == bytes(5));
  CHECK(space.live().size() == 1);
  CHECK(adds_up(space));
}

TEST_CASE("mapping space: exec drops all") {
  MappingSpace space;
  const auto a = origin_of(1);
  space.map(pages(10, 4), a, 100);
  space.unmap(kThread, pages(10, 1));
  space.drop_all();
  space.undo(kThread);
  CHECK(counted(space, a) == Counted{4, 1, 4, 1});
  CHECK(space.live().empty());
}
