// SPDX-License-Identifier: Apache-2.0
//
// `tidemark report` on this machine: every byte of MemTotal once, planted memory found where it
// lies and with its owner, what an ordinary user gets. What a plant took comes from its own ledger.
// Needs root, except where it says so.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "tidemark.h"

using namespace tidemark::test;

namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr uid_t kNobody = 65534;
// Others work on the machine too: what is measured while they come and go is measured again.
constexpr int kAttempts = 4;

bool cannot_look() {
  return ::geteuid() != 0 && skip_because("looking into other processes needs root");
}

Json look(const Words& more = {}, SpawnOptions options = {}) {
  Words words = {"report", "--json", "-", "--quiet"};
  words.insert(words.end(), more.begin(), more.end());
  const Outcome outcome = run_tidemark(words, options);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  return Json::parse(outcome.out);
}

int64_t ghost(const Json& report) {
  return report["ghost"]["bytes"].get<int64_t>();
}
int64_t error(const Json& report) {
  return report["ghost"]["error_bytes"].get<int64_t>();
}

int64_t category(const Json& report, const std::string& name) {
  if (name == "ghost") return ghost(report);
  for (const Json& row : report["attribution"]) {
    if (row["category"] == name) return row["bytes"].get<int64_t>();
  }
  return 0;
}

// Sum of a field over the rows of this process.
int64_t sum_of(const Json& rows, pid_t pid, const char* field) {
  int64_t sum = 0;
  for (const Json& row : rows) {
    if (row["pid"] == pid) sum += row[field].get<int64_t>();
  }
  return sum;
}

bool has_verdict(const Json& report, const std::string& area, const std::string& part) {
  return std::ranges::any_of(report["verdicts"], [&](const Json& verdict) {
    const std::string all =
        verdict["what"].get<std::string>() + verdict["evidence"].get<std::string>();
    return verdict["area"] == area && all.find(part) != std::string::npos;
  });
}

struct Plant {
  Target target;
  Json ledger;
  Plant(const std::string& kind, long amount)
      : target("memory_plants", {kind, std::to_string(amount)}) {
    ledger = target.run();
  }
  [[nodiscard]] int64_t bytes() const { return ledger["bytes"].get<int64_t>(); }
};

// Which rows a plant may move besides its own, and what the machine moves by itself: tasks that
// come and go take page tables, slab and vmalloc (stacks). The stated noise of a kernel row.
constexpr int64_t kNoise = 8 * kMiB;
constexpr std::array kKernelRows = {"vmalloc", "percpu",      "secondary_page_tables", "hugetlb",
                                    "zspages", "unevictable", "hardware_corrupted",    "balloon"};

struct Move {
  Json before;
  Json after;
  int64_t bytes = 0;
  pid_t pid = 0;
  [[nodiscard]] int64_t of(const std::string& name) const {
    return category(after, name) - category(before, name);
  }
  [[nodiscard]] int64_t allowed() const { return error(before) + error(after); }
};

bool others_are_still(const Move& move, const std::string& own) {
  return std::ranges::all_of(kKernelRows, [&](const char* name) {
    return name == own || std::abs(move.of(name)) <= kNoise;
  });
}

// Plants until the row moved by the plant, within the printed error (of the ghost) or `noise`, and
// all other kernel rows stood still; the last move is returned either way, for the checks to judge.
Move plant_and_look(const std::string& kind, long amount, const std::string& own) {
  Move move;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    move.before = look();
    Plant plant(kind, amount);
    move.after = look();
    move.bytes = plant.bytes();
    move.pid = plant.target.pid();
    const int64_t allowed = own == "ghost" ? move.allowed() : kNoise;
    const bool ghost_is_right = own == "ghost" || std::abs(move.of("ghost")) <= move.allowed();
    if (std::abs(move.of(own) - move.bytes) <= allowed && ghost_is_right &&
        others_are_still(move, own)) {
      break;
    }
  }
  return move;
}

void check_ghost_plant(const std::string& kind, long amount, const std::string& maker) {
  if (cannot_look()) return;
  const Move move = plant_and_look(kind, amount, "ghost");
  CAPTURE(move.before["ghost"].dump());
  CAPTURE(move.after["ghost"].dump());
  CHECK(std::abs(move.of("ghost") - move.bytes) <= move.allowed());
  CHECK(others_are_still(move, "ghost"));
  int64_t explained = 0;
  for (const Json& part : move.after["ghost"]["explained"]) {
    if (part["pid"] == move.pid && part["maker"] == maker)
      explained += part["bytes"].get<int64_t>();
  }
  CHECK(std::abs(explained - move.bytes) <= kMiB / 4);
}

void check_other_plant(const std::string& kind, long amount, const std::string& own) {
  if (cannot_look()) return;
  const Move move = plant_and_look(kind, amount, own);
  CAPTURE(move.before["attribution"].dump());
  CAPTURE(move.after["attribution"].dump());
  CHECK(std::abs(move.of(own) - move.bytes) <= kNoise);
  CHECK(std::abs(move.of("ghost")) <= move.allowed());
  CHECK(others_are_still(move, own));
}

}  // namespace

TEST_CASE("report_every_byte_of_memtotal_once") {
  if (cannot_look()) return;
  const Json report = look();
  CHECK(report["schema"] == "tidemark.report/1");
  int64_t sum = ghost(report);
  for (const Json& row : report["attribution"]) {
    CHECK_FALSE(row["bytes"].is_null());
    sum += row["bytes"].get<int64_t>();
  }
  CHECK(sum == report["mem_total_bytes"].get<int64_t>());
  int64_t explained = report["ghost"]["unexplained_bytes"].get<int64_t>();
  for (const Json& part : report["ghost"]["explained"]) explained += part["bytes"].get<int64_t>();
  CHECK(explained == ghost(report));
}

TEST_CASE("report_five_quiet_baselines_differ_by_one_mib") {
  if (cannot_look()) return;
  int64_t spread = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    int64_t least = INT64_MAX, most = 0;
    for (int at = 0; at < 5; ++at) {
      const int64_t bytes = ghost(look());
      least = std::min(least, bytes);
      most = std::max(most, bytes);
    }
    spread = most - least;
    if (spread <= kMiB) break;
  }
  CHECK(spread <= kMiB);
}

TEST_CASE("report_plant_packet_ring") {
  check_ghost_plant("packet_ring", 64, "packet_ring");
}
TEST_CASE("report_plant_pipes") {
  check_ghost_plant("pipes", 32, "pipe");
}
TEST_CASE("report_plant_perf_ring") {
  check_ghost_plant("perf_ring", 8, "perf_ring");
}
TEST_CASE("report_plant_bpf_ring_buffer") {
  check_ghost_plant("bpf_ringbuf", 16, "bpf");
}
TEST_CASE("report_plant_bpf_array_is_vmalloc_and_no_ghost") {
  check_other_plant("bpf_array", 64, "vmalloc");
}
TEST_CASE("report_plant_memfd_is_shmem_and_no_ghost") {
  check_other_plant("memfd", 64, "shmem");
}
TEST_CASE("report_plant_tmpfs_file_is_shmem_and_no_ghost") {
  check_other_plant("tmpfs_file", 32, "shmem");
}

// What is queued lies partly in slab: the ghost moves by the part that the report says.
TEST_CASE("report_plant_unix_queues") {
  if (cannot_look()) return;
  Move move;
  int64_t said = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    move.before = look();
    Plant plant("unix", 64);
    move.after = look();
    move.pid = plant.target.pid();
    said = sum_of(move.after["sockets"]["sockets"], move.pid, "ghost_bytes");
    if (std::abs(move.of("ghost") - said) <= move.allowed()) break;
  }
  CHECK(said > 48 * kMiB);
  CHECK(std::abs(move.of("ghost") - said) <= move.allowed());
  CHECK(sum_of(move.after["ghost"]["explained"], move.pid, "bytes") > 48 * kMiB);
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
  const Json report = look({}, {.uid = kNobody});
  CHECK(report["mem_total_bytes"].get<int64_t>() > 0);
  CHECK(report["ghost"]["bytes"].is_number());
  CHECK(error(report) > 0);
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
