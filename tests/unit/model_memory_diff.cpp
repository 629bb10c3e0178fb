// SPDX-License-Identifier: Apache-2.0
#include "model/memory_diff.h"

#include <doctest/doctest.h>

using namespace tidemark::model;

namespace {

constexpr uint64_t kHour = 3'600'000'000'000;

MemorySummary at(uint64_t hours, uint64_t available, std::vector<Quantity> quantities) {
  return {hours * kHour, available, std::move(quantities), Saved::kReport, {}};
}

}  // namespace

TEST_CASE("diff: what grew most first, with its rate and the time left") {
  const MemoryDiff diff = compare_memory(
      {at(1, 1000,
          {{"slab", "a", "", 100, {}}, {"slab", "b", "", 50, {}}, {"slab", "same", "", 7, {}}}),
       at(3, 600,
          {{"slab", "a", "", 300, {}}, {"slab", "b", "", 20, {}}, {"slab", "same", "", 7, {}}})});
  REQUIRE(diff.rows.size() == 2);
  CHECK(diff.rows[0].name == "a");
  CHECK(diff.rows[0].change_bytes == 200);
  CHECK(diff.rows[0].bytes_per_hour == 100.0);
  CHECK(diff.rows[0].time_left_ns == 6 * kHour);
  CHECK(diff.rows[0].time_left_of == "MemAvailable");
  CHECK(diff.rows[1].name == "b");
  CHECK(diff.rows[1].change_bytes == -30);
  CHECK_FALSE(diff.rows[1].time_left_ns.has_value());
  CHECK(diff.available_change_bytes == -400);
}

TEST_CASE("diff: a control group grows into its limit, free memory into nothing") {
  const MemoryDiff diff = compare_memory(
      {at(0, 1000, {{"cgroup", "/web", "", 100, 500}, {"memory", "free", "", 10, {}}}),
       at(1, 1000, {{"cgroup", "/web", "", 300, 500}, {"memory", "free", "", 500, {}}})});
  REQUIRE(diff.rows.size() == 2);
  CHECK(diff.rows[0].name == "free");
  CHECK_FALSE(diff.rows[0].time_left_ns.has_value());
  CHECK(diff.rows[1].time_left_ns == kHour);
  CHECK(diff.rows[1].time_left_of == "the limit of the group");
}

TEST_CASE("diff: a pid that was used again is another process; those in between are kept") {
  const MemoryDiff diff = compare_memory(
      {at(0, 9, {{"process", "sh (7)", "100", 10, {}}}),
       at(1, 9, {{"process", "job (8)", "150", 70, {}}, {"process", "sh (7)", "100", 10, {}}}),
       at(2, 9, {{"process", "job (8)", "150", 90, {}}}),
       at(3, 9, {{"process", "sh (7)", "200", 30, {}}})});
  REQUIRE(diff.rows.size() == 2);
  CHECK(diff.rows[0].change_bytes == 30);
  CHECK(diff.rows[1].change_bytes == -10);
  REQUIRE(diff.passing.size() == 1);
  CHECK(diff.passing[0].name == "job (8)");
  CHECK(diff.passing[0].peak_bytes == 90);
  CHECK(diff.passing[0].first_seen_unix_ns == kHour);
  CHECK(diff.passing[0].last_seen_unix_ns == 2 * kHour);
}

TEST_CASE("diff: no time passed, nothing available known") {
  MemorySummary before = at(1, 0, {{"slab", "a", "", 1, {}}});
  MemorySummary after = at(1, 0, {{"slab", "a", "", 2, {}}});
  before.available_bytes.reset();
  const MemoryDiff diff = compare_memory({before, after});
  REQUIRE(diff.rows.size() == 1);
  CHECK_FALSE(diff.rows[0].bytes_per_hour.has_value());
  CHECK_FALSE(diff.rows[0].time_left_ns.has_value());
  CHECK_FALSE(diff.available_change_bytes.has_value());
}

TEST_CASE(
    "diff: names of processes that no snapshot has are kept, those before the first are not") {
  MemorySummary first = at(0, 1000, {}), second = at(1, 1000, {}), third = at(2, 1000, {});
  first.passed = {{"before", 9, 900, {}}};
  second.passed = {{"sh", 3, 50, {}}};
  third.passed = {{"sh", 2, 70, {}}, {"once", 1, 10, {}}};
  const MemoryDiff diff = compare_memory({first, second, third});
  REQUIRE(diff.passing.size() == 2);
  CHECK(diff.passing[0].name == "sh");
  CHECK(diff.passing[0].count == 5);
  CHECK(diff.passing[0].peak_bytes == 70);
  CHECK(diff.passing[0].first_seen_unix_ns == kHour);
  CHECK(diff.passing[0].last_seen_unix_ns == 2 * kHour);
  CHECK(diff.passing[1].name == "once");
  CHECK(diff.passing[1].count == 1);
}

TEST_CASE("diff: what the kernel gives back uses nothing up") {
  const MemoryDiff diff = compare_memory(
      {at(0, 1000, {{"memory", "file_cache", "", 1, {}}, {"memory", "anonymous", "", 1, {}}}),
       at(1, 1000, {{"memory", "file_cache", "", 90, {}}, {"memory", "anonymous", "", 50, {}}})});
  REQUIRE(diff.rows.size() == 2);
  CHECK_FALSE(diff.rows[0].time_left_ns.has_value());
  CHECK(diff.rows[1].time_left_ns.has_value());
}
