// SPDX-License-Identifier: Apache-2.0
#include "collect/snapshot_store.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "scratch.h"
#include "support/file.h"

using namespace tidemark;
using collect::SnapshotStore;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;

}  // namespace

TEST_CASE("store: documents are named by time and sort by it") {
  CHECK(collect::snapshot_name(1'763'783'952'123'456'789) ==
        "tidemark-20251122T035912.123456789Z.json");
  const Scratch directory;
  auto store = SnapshotStore::open(directory.path() + "/new/store", 1 << 20);
  REQUIRE(store.has_value());
  for (const uint64_t second : {9u, 10u, 1500000000u}) {
    REQUIRE(store->add(second * kSecond, "{}").has_value());
  }
  const auto paths = SnapshotStore::list(directory.path() + "/new/store");
  REQUIRE(paths.has_value());
  REQUIRE(paths->size() == 3);
  CHECK(paths->front() == directory.path() + "/new/store/" + collect::snapshot_name(9 * kSecond));
  CHECK(read_file(paths->back()) == "{}");
}

TEST_CASE("store: the oldest go beyond the limit, the newest stays") {
  const Scratch directory;
  auto store = SnapshotStore::open(directory.path(), 250);
  REQUIRE(store.has_value());
  const std::string document(100, 'x');
  for (uint64_t second = 1; second <= 5; ++second) {
    REQUIRE(store->add(second * kSecond, document).has_value());
  }
  const auto paths = SnapshotStore::list(directory.path());
  REQUIRE(paths->size() == 2);
  CHECK(paths->back().ends_with(collect::snapshot_name(5 * kSecond)));
  REQUIRE(store->add(6 * kSecond, std::string(1000, 'x')).has_value());
  CHECK(SnapshotStore::list(directory.path())->size() == 1);
}

TEST_CASE("store: files of others are left alone, halves of a crash are not listed and go") {
  const Scratch directory;
  std::ofstream(directory.file("notes.txt")) << "mine";
  const std::string half = directory.file(collect::snapshot_name(1) + ".AbCdEf");
  std::ofstream(half) << "{\"schema\":";
  CHECK(SnapshotStore::list(directory.path())->empty());
  auto store = SnapshotStore::open(directory.path(), 1);
  REQUIRE(store.has_value());
  CHECK_FALSE(fs::exists(half));
  REQUIRE(store->add(kSecond, "{}").has_value());
  CHECK(fs::exists(directory.file("notes.txt")));
}

TEST_CASE("store: a place that cannot be one gets a line") {
  const Scratch directory;
  std::ofstream(directory.file("file")) << "x";
  const auto store = SnapshotStore::open(directory.file("file"), 1);
  REQUIRE_FALSE(store.has_value());
  CHECK(store.error().text.find('\n') == std::string::npos);
  CHECK_FALSE(SnapshotStore::list(directory.file("none")).has_value());
}
