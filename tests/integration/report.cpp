// SPDX-License-Identifier: Apache-2.0
//
// `tidemark report` on this machine: every byte of MemTotal once, planted memory found where it
// lies and with its owner, what an ordinary user gets. What a plant took comes from its own ledger.
// Needs root, except where it says so.
#include <doctest/doctest.h>

#include <algorithm>

#include "report_plants.h"

using namespace tidemark::test;

namespace {

constexpr uid_t kNobody = 65534;

// A report by a run of its own.
Json look(SpawnOptions options = {}) {
  const Outcome outcome = run_tidemark({"report", "--json", "-", "--quiet"}, options);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  return Json::parse(outcome.out);
}

bool has_verdict(const Json& report, const std::string& area, const std::string& part) {
  return std::ranges::any_of(report["verdicts"], [&](const Json& verdict) {
    const std::string all =
        verdict["what"].get<std::string>() + verdict["evidence"].get<std::string>();
    return verdict["area"] == area && all.find(part) != std::string::npos;
  });
}

const Look kOneShot = [] { return look(); };

}  // namespace

TEST_CASE("report_every_byte_of_memtotal_once") {
  if (cannot_look()) return;
  const Json report = look();
  CHECK(report["schema"] == "tidemark.report/1");
  int64_t sum = ghost_of(report);
  for (const Json& row : report["attribution"]) {
    CHECK_FALSE(row["bytes"].is_null());
    sum += row["bytes"].get<int64_t>();
  }
  CHECK(sum == report["mem_total_bytes"].get<int64_t>());
  int64_t explained = report["ghost"]["unexplained_bytes"].get<int64_t>();
  for (const Json& part : report["ghost"]["explained"]) explained += part["bytes"].get<int64_t>();
  CHECK(explained == ghost_of(report));
}

TEST_CASE("report_five_quiet_baselines_differ_by_one_mib") {
  if (cannot_look()) return;
  CHECK(spread_of_five(kOneShot) <= kMiB);
}

TEST_CASE("report_plant_packet_ring") {
  if (!cannot_look()) check_ghost_plant(kOneShot, "packet_ring", 64, "packet_ring");
}
TEST_CASE("report_plant_pipes") {
  if (!cannot_look()) check_ghost_plant(kOneShot, "pipes", 32, "pipe");
}
TEST_CASE("report_plant_perf_ring") {
  if (!cannot_look()) check_ghost_plant(kOneShot, "perf_ring", 8, "perf_ring");
}
TEST_CASE("report_plant_bpf_ring_buffer") {
  if (!cannot_look()) check_ghost_plant(kOneShot, "bpf_ringbuf", 16, "bpf");
}
TEST_CASE("report_plant_bpf_array_is_vmalloc_and_no_ghost") {
  if (!cannot_look()) check_other_plant(kOneShot, "bpf_array", 64, "vmalloc");
}
TEST_CASE("report_plant_memfd_is_shmem_and_no_ghost") {
  if (!cannot_look()) check_other_plant(kOneShot, "memfd", 64, "shmem");
}
TEST_CASE("report_plant_tmpfs_file_is_shmem_and_no_ghost") {
  if (!cannot_look()) check_other_plant(kOneShot, "tmpfs_file", 32, "shmem");
}
TEST_CASE("report_plant_unix_queues") {
  if (!cannot_look()) check_unix_queues(kOneShot, 64);
}

TEST_CASE("report_plant_unread_sockets_are_named") {
  if (cannot_look()) return;
  for (const char* kind : {"raw_icmpv6", "packet_queue"}) {
    CAPTURE(kind);
    const Plant plant(kind, 5000);
    const Json report = look();
    CHECK(sum_of(report["sockets"]["sockets"], plant.target.pid(), "recv_queue_bytes") ==
          plant.bytes());
    CHECK(has_verdict(report, "sockets", "pid " + plant.target.pid_text() + " (memory_plants)"));
  }
}

TEST_CASE("report_plant_shared_memory_is_listed_with_its_owner") {
  if (cannot_look()) return;
  const Plant memfd("memfd", 16);
  const Plant deleted("deleted_file", 16);
  Plant segment("sysv", 16);
  const Json shared = look()["tmpfs"];
  // Its segment outlives a process that is killed.
  segment.target.say("quit");
  CHECK(segment.target.process().wait_exit().has_value());
  CHECK(sum_of(shared["memfds"], memfd.target.pid(), "bytes") == memfd.bytes());
  CHECK(sum_of(shared["deleted_files"], deleted.target.pid(), "bytes") == deleted.bytes());
  CHECK(std::ranges::any_of(shared["sysv_segments"], [&](const Json& row) {
    return row["attached"] == 0 && row["bytes"] == segment.bytes() &&
           row["creator_pid"] == segment.target.pid();
  }));
}

TEST_CASE("report_plant_91_thread_stacks") {
  if (cannot_look()) return;
  const Plant plant("stacks", 91);
  const Json report = look();
  for (const Json& process : report["processes"]) {
    if (process["pid"] != plant.target.pid()) continue;
    CHECK(process["thread_stacks"]["count"] == 91);
    CHECK(process["thread_stacks"]["each_bytes"] == 32 * kMiB);
    CHECK(process["thread_stack_bytes"] == 91 * 32 * kMiB);
    CHECK(process["threads"].get<int>() >= 91);
  }
  CHECK(has_verdict(report, "process", "91 thread stacks of 32.0 MiB"));
}

TEST_CASE("report_as_an_ordinary_user_says_what_it_may_not_read") {
  if (cannot_look()) return;  // it takes root to become somebody else
  const Json report = look({.uid = kNobody});
  CHECK(report["mem_total_bytes"].get<int64_t>() > 0);
  CHECK(report["ghost"]["bytes"].is_number());
  CHECK(error_of(report) > 0);
  CHECK(report["slab"]["bytes"].is_number());
  CHECK(report["slab"]["caches"].is_null());
  CHECK(report["vmalloc"]["callers"].is_null());
  CHECK_FALSE(report["processes"].empty());
  bool said = false;
  for (const Json& row : report["coverage"]) {
    if (row["hook"] != "slabinfo") continue;
    said =
        row["state"] == "off" && row["reason"].get<std::string>().find("root") != std::string::npos;
  }
  CHECK(said);
}

TEST_CASE("report_text_says_the_formula") {
  const Outcome outcome = run_tidemark({"report"});
  REQUIRE(outcome.exit_code == 0);
  for (const char* part : {"memory    ", "coverage  ", "ghost     ", "Every byte of MemTotal once",
                           "kB  MemTotal", "what the usual formula says", "Processes"}) {
    CAPTURE(part);
    CHECK(outcome.out.find(part) != std::string::npos);
  }
}
