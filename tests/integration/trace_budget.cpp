// SPDX-License-Identifier: Apache-2.0
//
// Traces under a budget: that what they take stays below it, as the target itself measures it.
// tools/bench budget does the same with servers.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tidemark.h"

namespace tidemark::test {
namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.at(values.size() / 2);
}

// A pace that the target kept up: what a pair costs without a trace.
double bare_pair_ns(Target& target) {
  std::vector<double> costs;
  for (int round = 0; round < 3; ++round) {
    const Json said = target.ask("pace 2000000 500 0");
    costs.push_back(said.at("cpu_ns").get<double>() / said.at("pairs").get<double>());
  }
  return median(costs);
}

// Nanoseconds that a pair takes, of `windows` windows of `pairs` pairs each.
std::vector<double> time_pairs(Target& target, int windows, long pairs) {
  std::vector<double> costs;
  for (int window = 0; window < windows; ++window) {
    target.say("window " + std::to_string(pairs));
    costs.push_back(std::stod(target.process().read_line(Stream::kOut).value_or("")));
  }
  return costs;
}

}  // namespace

// From 1,000 pairs a second to two million: what it lost until pairs cost what they did before.
TEST_CASE("trace_budget_burst") {
  if (cannot_trace()) return;
  Target target("burst");
  const double bare_ns = bare_pair_ns(target);
  Trace trace({"-p", target.pid_text(), "--budget", "5%", "--quiet"});
  trace.wait_until_tracing();
  target.ask(
      "pace 1000 10000 200");  // a fifth of a processor: a thousand pairs are cheap beside it
  const Json burst = target.ask("pace 2000000 5000 0");
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  double lost_ns = 0;
  std::size_t slices = 0;
  bool throttled = false;
  for (const Json& slice : burst.at("slices")) {
    const double pairs = slice[0], cpu_ns = slice[1];
    ++slices;
    lost_ns += cpu_ns - pairs * bare_ns;
    throttled = pairs > 0 && cpu_ns < 2 * bare_ns * pairs;
    if (throttled) break;
  }
  INFO("bare " << bare_ns << " ns a pair; " << lost_ns * 1e-6 << " ms lost in " << slices * 20
               << " ms; mode: " << outcome.report().at("mode").dump());
  CHECK(throttled);
  // Else the trace did nothing that could have been throttled.
  CHECK(lost_ns > 1e6);
  CHECK(lost_ns <= 300e6);
}

// Nothing but free(malloc(64)): the pair costs a hundred times as much while probes are there.
TEST_CASE("trace_budget_holds_on_a_saturated_loop") {
  if (cannot_trace()) return;
  constexpr double kBudget = 0.05, kSeconds = 15;
  Target target("alloc_bench", {"5"});
  const double first_ns = median(time_pairs(target, 3, 5'000'000));
  const long pairs = std::lround(0.2e9 / first_ns);
  const double before_ns = median(time_pairs(target, 5, pairs));
  Trace trace({"-p", target.pid_text(), "--budget", "5%", "--quiet"});
  trace.wait_until_tracing();
  std::vector<double> costs;
  double used_ns = 0;
  while (used_ns < kSeconds * 1e9) {
    costs.push_back(time_pairs(target, 1, pairs).front());
    used_ns += costs.back() * static_cast<double>(pairs);
  }
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  const double after_ns = median(time_pairs(target, 5, pairs));
  const double traced_ns =
      std::accumulate(costs.begin(), costs.end(), 0.0) / static_cast<double>(costs.size());
  // Probes are there in few of the windows: most are bare ones, on the machine as it was then.
  const double bare_ns = median(costs);
  const double extra = traced_ns / bare_ns - 1;
  const Json& mode = outcome.report().at("mode");
  INFO("bare " << before_ns << " ns before, " << after_ns << " ns after, " << bare_ns
               << " ns between windows; traced " << traced_ns << " ns: " << 100 * extra
               << " % more; mode: " << mode.dump());
  CHECK(extra <= kBudget + 0.01);
  // Without probes it runs as it did before.
  CHECK(bare_ns <= 1.1 * std::max(before_ns, after_ns));
  // It was looked at, and did not go on as if nothing could be paid.
  CHECK(mode.at("budget").at("tracing_cpu_ns").get<double>() > 0.01 * 1e9 * kBudget * kSeconds);
  CHECK(mode.at("exact") == false);
}

// A thousand allocations a second cost half a percent of a CPU at most.
TEST_CASE("trace_budget_quiet_target_stays_exact") {
  if (cannot_trace()) return;
  Target target("seeded_leak", {"7", "1000", "6"});
  Trace trace({"-p", target.pid_text(), "--budget", "5%", "--quiet"});
  trace.wait_until_tracing();
  target.say("go");
  ::sleep(6);
  const Json ledger = target.run("stop");
  const Outcome outcome = trace.finish();
  const Json& report = outcome.report();
  INFO("mode: " << report.at("mode").dump());
  CHECK(report.at("mode").at("exact") == true);
  CHECK(report.at("mode").at("duty_ratio") == 1);
  CHECK(report.at("mode").at("sampling_interval_bytes").is_null());
  check_no_losses(report);
  check_sums_add_up(report);
  check_ledger(report, ledger);
}

}  // namespace tidemark::test
