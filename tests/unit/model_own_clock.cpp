// SPDX-License-Identifier: Apache-2.0
//
// The targets' own time by the readings of it.
#include "model/own_clock.h"

#include <doctest/doctest.h>

using namespace tidemark;

TEST_CASE("own clock: between two readings the target ran at one pace") {
  model::OwnClock clock;
  clock.set(1'000'000, 500);
  clock.set(2'000'000, 800'500);
  clock.set(3'000'000, 800'500);
  CHECK(clock.at(1'000'000) == 1);
  CHECK(clock.at(1'500'000) == 1 + 400'000 + 500);
  CHECK(clock.at(2'000'000) == 1 + 800'000 + 1'000);
  const model::Window window = clock.at(model::Window{1'000'000, 2'000'000});
  CHECK(window.start_ns == 1);
  CHECK(window.end_ns == 801'001);
}

TEST_CASE("own clock: what is later is later, also of a target that sleeps") {
  model::OwnClock clock;
  clock.set(1'000'000, 0);
  clock.set(3'000'000, 0);
  CHECK(clock.at(1'000'000) < clock.at(2'000'000));
  CHECK(clock.at(2'000'000) < clock.at(9'000'000));
  CHECK(clock.at(500'000) == 1);
}

TEST_CASE("own clock: readings that go back are none") {
  model::OwnClock clock;
  clock.set(2'000, 100);
  clock.set(1'000, 50);
  CHECK(clock.at(2'000) == 1);
}
