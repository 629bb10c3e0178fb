// SPDX-License-Identifier: Apache-2.0
//
// `trace --growth`: of all processes, who grows, how fast, and where; what only looks like growth
// is told from it.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>

#include "tidemark.h"

namespace tidemark::test {
namespace {

constexpr long kKib = 1024;
// Seconds that no test lasts: how long it takes to see a trend depends on the machine.
constexpr const char* kUntilTold = "600";

// The row of a process; null where there is none.
Json process_of(const Json& report, pid_t pid) {
  for (const Json& process : report.at("growth").at("processes")) {
    if (process.at("pid") == pid) return process;
  }
  return nullptr;
}

// What the kernel calls it: 5.10 does so by the number of the descriptor that it was started by.
std::string comm_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::string comm;
  std::getline(file, comm);
  return comm;
}

struct Touched {
  double touched_bytes = 0;
  double kept_bytes = 0;
  double variance = 0;  // of the kept bytes
  long whole_stacks = 0;
  long sites = 0;
};

// All call sites of a process that come through this function.
Touched touched_in(const Json& report, pid_t pid, const std::string& function) {
  Touched sum;
  for (const Json& site : report.at("growth").at("call_sites")) {
    if (site.at("pid") != pid || !names(site, function, 8)) continue;
    REQUIRE_FALSE(site.at("kept_bytes").is_null());
    sum.touched_bytes += site.at("touched_bytes").get<double>();
    sum.kept_bytes += site.at("kept_bytes").get<double>();
    sum.variance += std::pow(site.at("kept_bytes_error").get<double>() / 1.96, 2);
    sum.whole_stacks += site.at("stack") == "whole" ? 1 : 0;
    ++sum.sites;
  }
  return sum;
}

struct Gained {
  double bytes = 0;
  double variance = 0;
  long sites = 0;
};

// Of address space, likewise.
Gained gained_in(const Json& report, pid_t pid, const std::string& function) {
  Gained sum;
  for (const Json& site : report.at("growth").at("address_space")) {
    if (site.at("pid") != pid || !names(site, function, 8)) continue;
    sum.bytes += site.at("gained_bytes").get<double>();
    sum.variance += std::pow(site.at("gained_bytes_error").get<double>() / 1.96, 2);
    ++sum.sites;
  }
  return sum;
}

// Until the report's own figure may be off by: what the kernel says of a resident set.
double slack_of(const Json& report) {
  return report.at("growth").at("resident_error_bytes").get<double>();
}

bool is_steady(const Json& process) {
  return !process.at("trend").is_null() && process.at("trend").at("steady") == true;
}

// By the allocator's calls.
Sums leak_in(const Json& report, pid_t pid) {
  for (const Json& site : report.at("call_sites")) {
    if (site.at("pid") == pid && names(site, "grow_here", 1)) return sums_of(site);
  }
  return {};
}

bool has_verdict_on(const Json& report, pid_t pid) {
  for (const Json& verdict : report.at("verdicts")) {
    const std::string what = verdict.at("what");
    if (verdict.at("area") == "growth" && what.starts_with("pid " + std::to_string(pid) + " ("))
      return true;
  }
  return false;
}

}  // namespace

TEST_CASE("trace_growth_says_who_grows_and_where") {
  if (cannot_trace()) return;
  Target grower("grower", {"1024", kUntilTold});
  Trace trace({"--growth", "--quiet", "--every", "4s"});
  trace.wait_until_tracing();
  grower.say("go");
  trace.wait_for_report("it grows steadily", [&](const Json& report) {
    const Json process = process_of(report, grower.pid());
    return !process.is_null() && is_steady(process) &&
           process.at("growth_bytes").get<double>() > 14.0 * kKib * kKib;
  });
  const Json ledger = grower.run("stop");
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  const Json& report = outcome.report();
  CHECK(report.at("schema") == "tidemark.trace/1");
  CHECK(report.at("growth").at("alone") == true);
  CHECK(report.at("call_sites").empty());
  const double truth = ledger.at("totals").at("live_bytes");
  const Json process = process_of(report, grower.pid());
  REQUIRE_FALSE(process.is_null());
  CHECK(process.at("comm") == comm_of(grower.pid()));
  CHECK(process.at("growth_bytes").get<double>() ==
        doctest::Approx(truth).epsilon(0.1).scale(slack_of(report)));
  CHECK(process.at("touched_bytes").get<double>() == doctest::Approx(truth).epsilon(0.1));
  CHECK(process.at("minor_faults").get<long>() > 0);
  CHECK(is_steady(process));
  CHECK(has_verdict_on(report, grower.pid()));
  INFO(report.at("growth").dump());
  const Touched here = touched_in(report, grower.pid(), "grow_here");
  CHECK(here.sites >= 1);
  CHECK(here.whole_stacks == here.sites);
  // Four standard errors: it holds 16,000 times of 16,001.
  CHECK(std::abs(here.kept_bytes - truth) < 4 * std::sqrt(here.variance) + 0.1 * truth);
  // Each block has a mapping of its own, which is touched at once.
  const Gained gained = gained_in(report, grower.pid(), "grow_here");
  CHECK(gained.sites >= 1);
  CHECK(std::abs(gained.bytes - truth) < 4 * std::sqrt(gained.variance) + 0.1 * truth);
}

TEST_CASE("trace_growth_what_is_given_back_is_not_kept") {
  if (cannot_trace()) return;
  Target churner("grower", {"0", "6", "churn"});
  Trace trace({"--growth", "--quiet"});
  trace.wait_until_tracing();
  churner.run();
  const Outcome outcome = trace.finish();
  const Json process = process_of(outcome.report(), churner.pid());
  REQUIRE_FALSE(process.is_null());
  const double touched = process.at("touched_bytes");
  CHECK(touched > 100.0 * kKib * kKib);
  CHECK(std::abs(process.at("growth_bytes").get<double>()) <
        0.01 * touched + slack_of(outcome.report()));
  CHECK_FALSE(is_steady(process));
  CHECK_FALSE(has_verdict_on(outcome.report(), churner.pid()));
  const Touched here = touched_in(outcome.report(), churner.pid(), "churn_here");
  CHECK(here.sites >= 1);
  CHECK(here.touched_bytes == doctest::Approx(touched).epsilon(0.5));
  CHECK(here.kept_bytes < 0.05 * here.touched_bytes);
}

TEST_CASE("trace_growth_on_processors_in_turn_is_counted_once") {
  if (cannot_trace()) return;
  if (::sysconf(_SC_NPROCESSORS_ONLN) < 2) {
    skip_because("this machine has one processor");
    return;
  }
  Target wanderer("grower", {"0", "1", "wander"});
  Trace trace({"--growth", "--quiet"});
  trace.wait_until_tracing();
  wanderer.run();
  const Outcome outcome = trace.finish();
  const Json process = process_of(outcome.report(), wanderer.pid());
  REQUIRE_FALSE(process.is_null());
  constexpr double kBytes = 40.0 * (1000 + 33) * 4096;
  CHECK(process.at("touched_bytes").get<double>() == doctest::Approx(kBytes).epsilon(0.01));
}

TEST_CASE("trace_growth_a_jump_is_not_steady") {
  if (cannot_trace()) return;
  Target jumper("grower", {"0", "7", "jump"});
  Trace trace({"--growth", "--quiet", "--fail-on-suspect"});
  trace.wait_until_tracing();
  jumper.run();
  const Outcome outcome = trace.finish();
  const Json process = process_of(outcome.report(), jumper.pid());
  REQUIRE_FALSE(process.is_null());
  CHECK(process.at("growth_bytes").get<double>() ==
        doctest::Approx(16.0 * kKib * kKib).epsilon(0.05).scale(slack_of(outcome.report())));
  CHECK_FALSE(is_steady(process));
  CHECK_FALSE(has_verdict_on(outcome.report(), jumper.pid()));
}

TEST_CASE("trace_growth_a_series_with_processes_that_came_and_went") {
  if (cannot_trace()) return;
  Trace trace({"--growth", "--quiet", "--every", "1s"});
  trace.wait_until_tracing();
  for (int i = 0; i < 5; ++i) {
    Target passing("grower", {"4096", "0", "jump"});
    passing.run();
  }
  Target stays("grower", {"1024", "3"});
  stays.run();
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.documents.size() >= 2);
  const Json& report = outcome.report();
  INFO("ended: ", report.at("growth").at("ended").dump());
  long passed = 0;
  for (const Json& ended : report.at("growth").at("ended")) {
    if (ended.at("comm") != comm_of(stays.pid())) continue;
    passed += ended.at("count").get<long>();
    CHECK(ended.at("touched_bytes").get<double>() > 4 * 16.0 * kKib * kKib);
  }
  CHECK(passed == 5);
  const Json process = process_of(report, stays.pid());
  REQUIRE_FALSE(process.is_null());
  CHECK(process.at("started_meanwhile") == true);
  CHECK(process.at("growth_bytes").get<double>() > 2.0 * kKib * kKib);
}

TEST_CASE("trace_auto_traces_who_grows_and_nobody_else") {
  if (cannot_trace()) return;
  Target leaks("grower", {"2048", kUntilTold});
  Target churns("grower", {"0", kUntilTold, "churn"});
  Target waits("idle");
  Trace trace({"--auto", "--exact", "--quiet", "--every", "4s"});
  trace.wait_until_tracing();
  leaks.say("go");
  churns.say("go");
  trace.wait_for_report("its leak is seen", [&](const Json& report) {
    return leak_in(report, leaks.pid()).live_count > 0;
  });
  (void)leaks.run("stop");
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  const Json& report = outcome.report();
  CHECK(report.at("growth").at("alone") == false);
  bool is_target = false;
  for (const Json& target : report.at("targets")) {
    is_target |= target.at("pid") == leaks.pid();
    CHECK(target.at("pid") != churns.pid());
    CHECK(target.at("pid") != waits.pid());
  }
  CHECK(is_target);
  // By the allocator's calls: it leaks in one place, and keeps all.
  const Sums sums = leak_in(report, leaks.pid());
  CHECK(sums.live_count > 0);
  CHECK(sums.live_count == sums.total_count);
  CHECK(sums.live_bytes == sums.live_count * (2048 * kKib / 20));
  CHECK(count_of_losses(report) == 0);
  const Json process = process_of(report, leaks.pid());
  REQUIRE_FALSE(process.is_null());
  CHECK(process.at("growth_bytes").get<double>() > 10.0 * kKib * kKib);
}

TEST_CASE("trace_auto_lets_go_of_who_has_stopped") {
  if (cannot_trace()) return;
  Target stops("grower", {"2048", kUntilTold});
  Trace trace({"--auto", "--exact", "--quiet", "--every", "4s"});
  trace.wait_until_tracing();
  stops.say("go");
  trace.wait_for_report("its leak is seen", [&](const Json& report) {
    return leak_in(report, stops.pid()).live_count > 0;
  });
  (void)stops.run("stop");
  const std::string name = "process " + stops.pid_text() + " (" + comm_of(stops.pid());
  trace.wait_for_report("it is let go", [&](const Json& report) {
    return std::ranges::any_of(report.at("coverage"), [&](const Json& row) {
      return row.at("hook").get<std::string>().starts_with(name) && row.at("state") == "off" &&
             row.at("reason").get<std::string>().find("let go") != std::string::npos;
    });
  });
  const Outcome outcome = trace.finish();
  const Json& report = outcome.report();
  CHECK(leak_in(report, stops.pid()).live_count > 0);
  CHECK_FALSE(is_steady(process_of(report, stops.pid())));
  CHECK(outcome.err.find(stops.pid_text()) != std::string::npos);
}

}  // namespace tidemark::test
