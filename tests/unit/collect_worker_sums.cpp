// SPDX-License-Identifier: Apache-2.0
//
// Call sites of workers become one where they are the same place, and stay apart where they are
// not.
#include <doctest/doctest.h>

#include "collect/worker_sums.h"

using namespace tidemark;
using model::Generation;
using model::StackId;

namespace {

model::Target worker(int32_t pid, uint32_t generation) {
  model::Target target;
  target.pid = {pid};
  target.generation = {generation};
  target.comm = "worker";
  return target;
}

model::CallSite mapping_of(uint32_t owner, uint64_t stack, model::Purpose purpose) {
  model::CallSite site;
  site.kind = model::Kind::kMapping;
  site.owner = {owner};
  site.allocator = "mmap";
  site.purpose = purpose;
  site.stack = {stack};
  site.total_bytes = 8192;
  site.total_count = 1;
  site.resident = model::Resident{.bytes = 4096, .anonymous_bytes = 4096};
  return site;
}

// Two workers, whose stacks 1 and 2 are the same place.
model::Snapshot snapshot_of(std::vector<model::CallSite> sites) {
  model::Snapshot snapshot;
  snapshot.targets = {worker(100, 1), worker(200, 2)};
  for (const uint64_t id : {1, 2}) {
    model::Stack stack;
    stack.id = {id};
    stack.frames = {{id << 32}};
    snapshot.stacks.push_back(stack);
  }
  snapshot.call_sites = std::move(sites);
  return snapshot;
}

std::optional<collect::Place> in_one_file(Generation, model::Address address) {
  return collect::Place{77, address.value & 0xffffffff};
}

}  // namespace

TEST_CASE("worker sums: mappings of two workers are one call site") {
  auto snapshot = snapshot_of({mapping_of(1, 1, model::Purpose::kThreadStack),
                               mapping_of(2, 2, model::Purpose::kThreadStack)});
  collect::sum_workers(snapshot, in_one_file);
  REQUIRE(snapshot.call_sites.size() == 1);
  const model::CallSite& sum = snapshot.call_sites[0];
  CHECK(sum.owner == Generation{1});
  CHECK(sum.of_several_processes);
  CHECK(sum.live_bytes() == 16'384);
  CHECK(sum.resident == model::Resident{.bytes = 8192, .anonymous_bytes = 8192});
}

TEST_CASE("worker sums: what is in memory of an unknown part is unknown of the whole") {
  auto sites =
      std::vector{mapping_of(1, 1, model::Purpose::kNone), mapping_of(2, 2, model::Purpose::kNone)};
  sites[1].resident.reset();
  auto snapshot = snapshot_of(std::move(sites));
  collect::sum_workers(snapshot, in_one_file);
  REQUIRE(snapshot.call_sites.size() == 1);
  CHECK_FALSE(snapshot.call_sites[0].resident.has_value());
}

TEST_CASE("worker sums: one place, two purposes, two call sites") {
  auto snapshot = snapshot_of(
      {mapping_of(1, 1, model::Purpose::kThreadStack), mapping_of(2, 2, model::Purpose::kNone)});
  collect::sum_workers(snapshot, in_one_file);
  REQUIRE(snapshot.call_sites.size() == 2);
  CHECK_FALSE(snapshot.call_sites[0].of_several_processes);
}

TEST_CASE("worker sums: a frame outside of files keeps a process's call site its own") {
  auto snapshot = snapshot_of(
      {mapping_of(1, 1, model::Purpose::kNone), mapping_of(2, 2, model::Purpose::kNone)});
  collect::sum_workers(snapshot,
                       [](Generation, model::Address) { return std::optional<collect::Place>(); });
  CHECK(snapshot.call_sites.size() == 2);
}
