// SPDX-License-Identifier: Apache-2.0
#include "collect/pace.h"

#include <doctest/doctest.h>

using tidemark::collect::Pace;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;

}  // namespace

TEST_CASE("pace: the first time at once, then as what it costs allows") {
  Pace pace(0.002);
  CHECK(pace.is_due(0));
  pace.done(100 * kSecond, kSecond / 50);  // 20 ms: every 10 s
  CHECK_FALSE(pace.is_due(109 * kSecond));
  CHECK(pace.is_due(111 * kSecond));
  pace.done(111 * kSecond, 2 * kSecond);  // a machine with large processes: every 1000 s
  CHECK_FALSE(pace.is_due(1100 * kSecond));
  CHECK(pace.is_due(1112 * kSecond));
}

TEST_CASE("pace: what costs nothing is always due, what costs very much once a day") {
  Pace pace(0.002);
  pace.done(5 * kSecond, 0);
  CHECK(pace.is_due(5 * kSecond));
  pace.done(5 * kSecond, 3600 * kSecond);
  CHECK_FALSE(pace.is_due(86'000 * kSecond));
  CHECK(pace.is_due(86'405 * kSecond));
}
