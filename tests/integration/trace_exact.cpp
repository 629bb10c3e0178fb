// SPDX-License-Identifier: Apache-2.0
//
// Exactness: what the trace says of a target equals the target's own ledger to the byte, per call
// site and in total, and nothing was lost.
#include <doctest/doctest.h>

#include <set>

#include "tidemark.h"

namespace tidemark::test {
namespace {

constexpr long kOperations = 5'000'000;

void trace_ledger(const Words& target_arguments, const Words& options,
                  const std::string& program = "ledger") {
  Target target(program, target_arguments);
  Words words = {"-p", target.pid_text(), "--exact", "--quiet"};
  words.insert(words.end(), options.begin(), options.end());
  Trace trace(words);
  trace.wait_until_tracing();
  const Json ledger = target.run();
  const Outcome outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  CHECK(outcome.exit_code == 0);
  const Json& report = outcome.report();
  check_ledger(report, ledger);
  check_sums_add_up(report);
  check_no_losses(report);
  CHECK(report.at("totals").at("unmatched_frees").get<long>() == 0);
  CHECK(report.at("mode").at("exact") == true);
}

std::string in_thousands(long operations) {
  return std::to_string(scaled(operations, 20'000));
}

// The same frames[0] below two callers is two call sites.
void trace_two_callers(const std::string& program) {
  Target target(program, {"2", "200000", "9"});
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet"});
  trace.wait_until_tracing();
  const Json ledger = target.run();
  const Outcome outcome = trace.finish();
  check_ledger(outcome.report(), ledger);
  std::set<std::string> callers;
  long total = 0;
  long whole = 0;
  for (const Json& site : outcome.report().at("call_sites")) {
    if (!names(site, "site_malloc_small", 1) || site.at("frames").size() < 2) continue;
    callers.insert(frame_name(site.at("frames")[1]));
    CHECK(site.at("kind") == "heap");
    total += site.at("total_count").get<long>();
    if (site.at("stack") == "whole") whole += site.at("total_count").get<long>();
  }
  CHECK(callers.size() == 2);
  // All but those of the first milliseconds, in which the unwind rules were learned.
  CHECK(whole > total - total / 10);
}

}  // namespace

TEST_CASE("trace_exact_8_threads_all_entry_points") {
  if (cannot_trace()) return;
  trace_ledger({"8", in_thousands(kOperations), "1", "65536", "pvalloc"}, {});
}

TEST_CASE("trace_exact_one_thread_other_seed") {
  if (cannot_trace()) return;
  trace_ledger({"1", in_thousands(kOperations / 10), "77", "2000"}, {});
}

TEST_CASE("trace_exact_probe_at_entry") {
  if (cannot_trace()) return;
  trace_ledger({"8", in_thousands(kOperations / 25), "3"}, {"--probe-at-entry"});
}

// Few slots: addresses are reused at once, by other threads and through other entry points.
TEST_CASE("trace_exact_under_address_reuse") {
  if (cannot_trace()) return;
  trace_ledger({"8", in_thousands(kOperations / 10), "5", "64"}, {});
}

TEST_CASE("trace_exact_without_frame_pointers") {
  if (cannot_trace()) return;
  trace_ledger({"8", in_thousands(kOperations / 10), "11", "65536", "pvalloc"}, {},
               "ledger_no_frame_pointer");
}

TEST_CASE("trace_exact_two_callers_of_one_site") {
  if (cannot_trace()) return;
  trace_two_callers("ledger");
}

TEST_CASE("trace_exact_two_callers_without_frame_pointers") {
  if (cannot_trace()) return;
  trace_two_callers("ledger_no_frame_pointer");
}

}  // namespace tidemark::test
