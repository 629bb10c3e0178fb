// SPDX-License-Identifier: Apache-2.0
//
// Sampled traces: estimates with their errors, held against the ledger of a target that leaks
// blocks of 16 B to 1 MiB among churn. What is random stays random: a figure may lie outside its
// 95 % interval, but not many of them, and not always on the same side.
#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <set>

#include "tidemark.h"

namespace tidemark::test {
namespace {

constexpr const char* kInterval = "64K";
constexpr double kStandardErrors = 1.96;
constexpr int kRuns = 5;

struct Estimate {
  double bytes = 0;
  double error = 0;
};

// By the function that called the allocator. Call sites are independent: squares of errors add up.
std::map<std::string, Estimate> estimates_of(const Json& report) {
  std::map<std::string, Estimate> estimates;
  for (const Json& site : report.at("call_sites")) {
    const Json& frames = site.at("frames");
    if (frames.empty() || site.at("live_count") == 0) continue;
    Estimate& sum = estimates[frame_name(frames[0])];
    sum.bytes += site.at("live_bytes").get<double>();
    sum.error = std::hypot(sum.error, site.at("live_bytes_error").get<double>());
  }
  return estimates;
}

struct Run {
  Json report;
  Json ledger;
  std::string text;
};

Run trace_leaks(int seed, const Words& options) {
  Target target("sampled_leaks",
                {std::to_string(seed), "2", std::to_string(scaled(50'000, 20'000))});
  Words words = {"-p", target.pid_text(), "--sample", kInterval};
  words.insert(words.end(), options.begin(), options.end());
  Trace trace(words);
  trace.wait_until_tracing();
  Run run;
  run.ledger = target.run();
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  run.report = outcome.report();
  run.text = outcome.out;
  return run;
}

// How far the estimates of several runs lie from their ledgers.
struct Misses {
  int intervals = 0;
  int outside = 0;
  double difference = 0;  // sum over runs
  double variance = 0;

  void add(const Estimate& estimate, double truth) {
    ++intervals;
    const double off = estimate.bytes - truth;
    outside += std::abs(off) > estimate.error + 1 ? 1 : 0;
    difference += off;
    variance += estimate.error * estimate.error / (kStandardErrors * kStandardErrors);
  }
};

// Beyond four standard deviations, of the number outside and of the sum of differences.
void check_misses(const Misses& misses, const std::string& what) {
  INFO(what << ": " << misses.outside << " of " << misses.intervals << " outside, off by "
            << misses.difference << " +/- " << std::sqrt(misses.variance));
  const double expected = 0.05 * misses.intervals;
  CHECK(misses.outside <= expected + 4 * std::sqrt(expected) + 1);
  CHECK(std::abs(misses.difference) <= 4 * std::sqrt(misses.variance) + 1);
}

void check_runs(const Words& options) {
  std::map<std::string, Misses> by_site;
  Misses all;
  for (long seed = 1; seed <= scaled(kRuns, 2); ++seed) {
    const Run run = trace_leaks(seed, options);
    check_sums_add_up(run.report);
    check_no_losses(run.report);
    auto estimates = estimates_of(run.report);
    for (const Json& site : run.ledger.at("sites")) {
      const std::string function = site.at("function");
      const auto truth = site.at("live_bytes").get<double>();
      by_site[function].add(estimates[function], truth);
      all.add(estimates[function], truth);
    }
    const Json& totals = run.report.at("totals");
    by_site["in all"].add(
        {totals.at("live_bytes").get<double>(), totals.at("live_bytes_error").get<double>()},
        run.ledger.at("totals").at("live_bytes").get<double>());
    // All churn is freed: what is left of it would be a bias of the decisions.
    CHECK(estimates["churn"].bytes == 0);
  }
  for (const auto& [function, misses] : by_site) check_misses(misses, function);
  check_misses(all, "all call sites");
}

}  // namespace

TEST_CASE("trace_sampled_figures_hold_the_truth_in_their_errors") {
  if (cannot_trace()) return;
  check_runs({"--quiet"});
}

TEST_CASE("trace_sampled_without_sessions_says_the_same") {
  if (cannot_trace()) return;
  check_runs({"--quiet", "--no-sessions"});
}

TEST_CASE("trace_sampled_says_that_it_is") {
  if (cannot_trace()) return;
  const Run run = trace_leaks(1, {});
  const Json& mode = run.report.at("mode");
  CHECK(mode.at("exact") == false);
  CHECK(mode.at("sampling_interval_bytes") == 64 << 10);
  CHECK(run.report.at("totals").at("unmatched_frees").is_null());
  CHECK(run.report.at("totals").at("live_bytes_error").get<long>() > 0);
  CHECK(run.text.find("sampled every 64.0 KiB") != std::string::npos);
  CHECK(run.text.find("+/- ") != std::string::npos);
}

// Which of its blocks malloc gave out is not known where most calls of malloc are not followed.
TEST_CASE("trace_sampled_leaves_out_what_the_target_tells_of") {
  if (cannot_trace() || is_missing("otel", "systemtap-sdt-dev")) return;
  Target target("otel", {"50"});
  Trace trace({"-p", target.pid_text(), "--sample", "512K", "--quiet"});
  trace.wait_until_tracing();
  target.run();
  const Outcome outcome = trace.finish();
  check_no_losses(outcome.report());
  std::set<std::string> off;
  for (const Json& row : outcome.report().at("coverage")) {
    if (row.at("state") != "off") continue;
    off.insert(row.at("hook"));
    CHECK(row.at("reason").get<std::string>().find("--exact has it") != std::string::npos);
  }
  CHECK(off == std::set<std::string>{"otel_memory alloc", "otel_memory free"});
  for (const Json& site : outcome.report().at("call_sites"))
    CHECK(site.at("allocator") != "otel_memory");
}

// Blocks of 16 bytes: one in 4096 is found, and a free of the others is nobody's loss.
TEST_CASE("trace_sampled_counts_blocks_too") {
  if (cannot_trace()) return;
  const long blocks = scaled(1'000'000, 200'000);
  Target target("many_blocks", {std::to_string(blocks)});
  Trace trace({"-p", target.pid_text(), "--sample", "4K", "--quiet"});
  trace.wait_until_tracing();
  target.run();
  const Json ledger = target.run("half");
  const Outcome outcome = trace.finish();
  const Json& totals = outcome.report().at("totals");
  check_no_losses(outcome.report());
  const auto truth = ledger.at("totals").at("live_count").get<double>();
  // Each sample stands for some 171 blocks.
  const double deviation = std::sqrt(truth / 171) * 171;
  CHECK(std::abs(totals.at("live_count").get<double>() - truth) <= 5 * deviation);
  const auto freed = ledger.at("totals").at("freed_count").get<double>();
  CHECK(std::abs(totals.at("freed_count").get<double>() - freed) <= 5 * deviation);
}

}  // namespace tidemark::test
