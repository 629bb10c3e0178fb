// SPDX-License-Identifier: Apache-2.0
//
// What pauses and deaths become: windows, and the histories of blocks.
#include "sources/heap_windows.h"

#include <doctest/doctest.h>

using namespace tidemark;
using sources::HeapWindows;

namespace {

constexpr model::Window kFirst{100, 200};
constexpr model::Window kSecond{500, 600};
const std::vector<model::Window> kWindows{kFirst, kSecond};

tm_death dead(uint64_t birth_ns, uint64_t death_ns, tm_death_kind kind = TM_DEATH_FREED) {
  tm_death death{};
  death.size_bytes = 64;
  death.birth_ns = birth_ns;
  death.death_ns = death_ns;
  death.kind = kind;
  return death;
}

}  // namespace

TEST_CASE("windows begin with the first pause") {
  HeapWindows windows;
  CHECK_FALSE(windows.have_begun());
  CHECK(windows.windows(50).empty());
  windows.pause(50);
  CHECK(windows.have_begun());
  CHECK(windows.began_ns() == 50);
  CHECK(windows.windows(90).empty());
  windows.resume(100);
  REQUIRE(windows.windows(150).size() == 1);
  CHECK(windows.windows(150)[0].end_ns == 150);
  windows.pause(200);
  windows.resume(500);
  const auto both = windows.windows(600);
  REQUIRE(both.size() == 2);
  CHECK(both[0].start_ns == 100);
  CHECK(both[0].end_ns == 200);
  CHECK(both[1].start_ns == 500);
}

TEST_CASE("a free in the window of the birth tells the whole life") {
  const auto history = sources::history_of(dead(110, 130), kWindows);
  REQUIRE(history);
  CHECK(history->alive_until_ns() == 130);
  CHECK(history->dead_by_ns() == 130);
  CHECK(history->free_seen_ns() == 130);
}

TEST_CASE("a free in a later window may be another block's") {
  const auto history = sources::history_of(dead(110, 530), kWindows);
  REQUIRE(history);
  CHECK(history->alive_until_ns() == kFirst.end_ns);
  CHECK(history->dead_by_ns() == 530);
  CHECK(history->free_seen_ns() == 530);
}

TEST_CASE("a proof of death outside of windows, or by the address, is no free that was seen") {
  for (const tm_death& death : {dead(110, 210), dead(110, 530, TM_DEATH_REPLACED)}) {
    const auto history = sources::history_of(death, kWindows);
    REQUIRE(history);
    CHECK(history->alive_until_ns() == kFirst.end_ns);
    CHECK(history->dead_by_ns() == death.death_ns);
    CHECK_FALSE(history->free_seen_ns());
  }
}

TEST_CASE(
    "what was born in no window has no history, and what lives is known to its window's end") {
  CHECK_FALSE(sources::history_of(dead(50, 130), kWindows));
  CHECK_FALSE(sources::history_of(dead(200, 530), kWindows));
  tm_block block{};
  block.size_bytes = 64;
  block.birth_ns = 120;
  const auto history = sources::history_of(block, kWindows);
  REQUIRE(history);
  CHECK(history->alive_until_ns() == kFirst.end_ns);
  CHECK_FALSE(history->dead_by_ns());
  block.birth_ns = 250;
  CHECK_FALSE(sources::history_of(block, kWindows));
}
