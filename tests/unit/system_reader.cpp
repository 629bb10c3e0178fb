// SPDX-License-Identifier: Apache-2.0
//
// All readers together: on saved files, on nothing, and on this machine.
#include "system/reader.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string>

#include "fixtures.h"

using namespace tidemark;
using namespace tidemark::system;

namespace {

model::MemorySnapshot read(const HostRoot& root) {
  model::MemorySnapshot snapshot;
  const ReadPlan plan;
  read_memory({root, plan}, snapshot);
  return snapshot;
}

const model::Coverage& row(const model::MemorySnapshot& snapshot, std::string_view name) {
  const auto found = std::ranges::find(snapshot.coverage, name, &model::Coverage::hook);
  REQUIRE(found != snapshot.coverage.end());
  return *found;
}

}  // namespace

TEST_CASE("readers: saved files of Linux 6.18") {
  const auto snapshot = read(HostRoot(fixture_path("linux_6_18")));
  REQUIRE(snapshot.readings.size() == 1);
  CHECK(snapshot.readings[0].meminfo.has_value());
  CHECK(snapshot.readings[0].vmstat.has_value());
  CHECK(snapshot.readings[0].zones.has_value());
  CHECK(snapshot.online_cpus == 2);
  CHECK(snapshot.percpu_first_chunk_bytes == 53 * 2 * 4096);
  CHECK(snapshot.stacks_in_vmalloc == true);
  CHECK(snapshot.slab_caches->size() > 200);
  CHECK(row(snapshot, "meminfo").state == model::HookState::kOn);
  CHECK(row(snapshot, "slab_aliases").state == model::HookState::kMissing);
}

TEST_CASE("readers: a place with nothing gives nothing, and a reason for each row") {
  const auto snapshot = read(HostRoot("/no/such/place"));
  CHECK_FALSE(snapshot.readings.at(0).meminfo.has_value());
  CHECK_FALSE(snapshot.slab_caches.has_value());
  CHECK_FALSE(snapshot.processes.has_value());
  CHECK_FALSE(snapshot.kernel_log.has_value());
  CHECK(snapshot.coverage.size() == readers().size());
  for (const model::Coverage& coverage : snapshot.coverage) {
    CAPTURE(coverage.hook);
    CHECK(coverage.state != model::HookState::kOn);
    CHECK_FALSE(coverage.reason.value_or("").empty());
  }
}

TEST_CASE("readers: this machine") {
  const auto snapshot = read(HostRoot());
  CHECK(snapshot.readings.size() == ReadPlan{}.readings);
  for (const char* name : {"meminfo", "vmstat", "zoneinfo", "processes", "cpu_online", "swaps"}) {
    CAPTURE(name);
    CHECK(row(snapshot, name).state == model::HookState::kOn);
  }
  CHECK(snapshot.processes->size() > 1);
}

TEST_CASE("readers: names are unique") {
  std::set<std::string_view> names;
  for (const Reader& reader : readers()) CHECK(names.insert(reader.name).second);
}

TEST_CASE("host root: directories are told from files and links") {
  const HostRoot root(fixture_path("linux_6_18"));
  const auto all = root.list("/");
  const auto directories = root.directories("/");
  REQUIRE(all.has_value());
  REQUIRE(directories.has_value());
  CHECK(std::ranges::find(*directories, "proc") != directories->end());
  const auto in_proc = root.directories("/proc");
  REQUIRE(in_proc.has_value());
  CHECK(std::ranges::find(*in_proc, "meminfo") == in_proc->end());
  CHECK_FALSE(root.directories("/no/such/place").has_value());
  // Links: /proc/self leads to a directory and is none.
  const auto live = HostRoot().directories("/proc");
  REQUIRE(live.has_value());
  CHECK(std::ranges::find(*live, "self") == live->end());
  CHECK(std::ranges::find(*live, std::to_string(::getpid())) != live->end());
}
