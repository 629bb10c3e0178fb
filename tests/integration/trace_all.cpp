// SPDX-License-Identifier: Apache-2.0
//
// The whole machine: every process is traced, those that are born meanwhile from their first
// instruction on. What else runs here is not ours to judge: of each report only the test's own
// programs are looked at.
#include <doctest/doctest.h>
#include <unistd.h>

#include <set>

#include "servers.h"
#include "tidemark.h"

namespace tidemark::test {
namespace {

const Words kAll = {"--all", "--exact", "--quiet"};

// Of all rows with this function as the allocator's caller. Where the machine is busy a stack may
// be cut, and make a row of its own.
Sums sums_named(const Json& report, const std::string& function) {
  const auto callers = by_caller(report);
  const auto found = callers.find(function);
  return found == callers.end() ? Sums{} : found->second;
}

std::set<pid_t> traced_pids(const Json& report) {
  std::set<pid_t> pids;
  for (const Json& row : report.at("targets")) pids.insert(row.at("pid").get<pid_t>());
  return pids;
}

}  // namespace

TEST_CASE("trace_all_running_processes_are_counted_exactly_and_summed") {
  if (cannot_trace()) return;
  // Enough of them that most stacks are taken after the first, which may be cut on a busy machine.
  Target one("many_blocks", {"20000"});
  Target other("many_blocks", {"10000"});
  Trace trace(kAll);
  trace.wait_until_tracing();
  const std::vector<pid_t> helpers = children_of(trace.pid());
  const Json first = one.run();
  const Json second = other.run();
  const pid_t self = trace.pid();
  const Outcome outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json& report = outcome.report();
  check_sums_add_up(report);
  const Sums sums = sums_named(report, "allocate_block");
  CHECK(sums.live_count == 30'000);
  CHECK(sums.live_bytes == first.at("totals").at("live_bytes").get<long>() +
                               second.at("totals").at("live_bytes").get<long>());
  bool is_summed = false;
  for (const Json& site : report.at("call_sites")) {
    if (!names(site, "allocate_block", 1)) continue;
    CHECK(site.at("comm") == "many_blocks");
    is_summed |= site.at("pid").is_null();
  }
  CHECK(is_summed);
  const std::set<pid_t> traced = traced_pids(report);
  CHECK(traced.contains(one.pid()));
  CHECK(traced.contains(other.pid()));
  CHECK(traced.contains(::getpid()));
  CHECK_FALSE(traced.contains(self));
  CHECK(!helpers.empty());
  for (const pid_t helper : helpers) CHECK_FALSE(traced.contains(helper));
}

// Programs of a few milliseconds, each with its name though it is gone when we look.
TEST_CASE("trace_all_processes_that_are_born_meanwhile_from_their_first_instruction") {
  if (cannot_trace()) return;
  constexpr long kPrograms = 5;
  constexpr long kKept = 7;
  Trace trace(kAll);
  trace.wait_until_tracing();
  for (long i = 0; i < kPrograms; ++i) {
    Process program = Process::spawn({target_path("short_lived"), std::to_string(kKept)});
    REQUIRE(program.wait_exit());
  }
  const Outcome outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json& report = outcome.report();
  check_sums_add_up(report);
  const Sums kept = sums_named(report, "keep_block");
  CHECK(kept.live_count == kPrograms * kKept);
  CHECK(kept.total_count == kPrograms * kKept);
  const Sums dropped = sums_named(report, "drop_block");
  CHECK(dropped.live_count == 0);
  CHECK(dropped.total_count == kPrograms * 100);
}

TEST_CASE("trace_all_what_cannot_be_traced_is_named_in_the_coverage") {
  if (cannot_trace()) return;
  Process bare = Process::spawn({target_path("no_allocator")});
  REQUIRE(bare.read_line(Stream::kOut) == "ready");
  Trace trace({"--all", "--for", "1s", "--quiet"});
  const Outcome outcome = trace.finish(0);
  REQUIRE(outcome.exit_code == 0);
  bool named = false;
  for (const Json& row : outcome.report().at("coverage")) {
    const std::string hook = row.at("hook");
    if (hook.find("no_allocator") == std::string::npos) continue;
    named = true;
    CHECK(row.at("state") == "missing");
    CHECK(row.at("reason").get<std::string>().find("no allocator") != std::string::npos);
  }
  CHECK(named);
}

}  // namespace tidemark::test
