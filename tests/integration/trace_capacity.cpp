// SPDX-License-Identifier: Apache-2.0
//
// Full tables and large numbers: the figures are right, or the loss is counted. Never a false leak.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "tidemark.h"

namespace tidemark::test {
namespace {

long ledger_live_count(const Json& ledger) {
  return ledger.at("totals").at("live_count");
}
long ledger_live_bytes(const Json& ledger) {
  return ledger.at("totals").at("live_bytes");
}

// The counts, in losses and notes, of the counters whose name holds the word.
long counted_as(const Json& report, const std::string& word) {
  long sum = 0;
  for (const char* list : {"losses", "notes"}) {
    for (const Json& entry : report.at(list)) {
      const bool is_it = entry.at("counter").get<std::string>().find(word) != std::string::npos;
      if (is_it) sum += entry.at("count").get<long>();
    }
  }
  return sum;
}

// Which of many_stacks' stacks it is: the way through left() and right(), its lowest bit outermost.
long stack_number(const Json& site) {
  long number = 0;
  for (const Json& frame : site.at("frames")) {
    const std::string name = frame_name(frame);
    if (name == "left" || name == "right") number = number * 2 + (name == "right" ? 1 : 0);
  }
  return number;
}

}  // namespace

TEST_CASE("trace_capacity_block_table_full") {
  if (cannot_trace()) return;
  const long blocks = scaled(50'000, 20'000);
  Target target("many_blocks", {std::to_string(blocks)});
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet", "--max-blocks", "4096"});
  trace.wait_until_tracing();
  const Json ledger = target.run();
  const Outcome outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  CHECK(outcome.exit_code == 0);
  const Json& report = outcome.report();
  check_sums_add_up(report);
  const Json& totals = report.at("totals");
  const long lost = count_of_losses(report);
  CHECK(lost > 0);
  CHECK(totals.at("live_count").get<long>() > 0);
  CHECK(totals.at("live_count").get<long>() + lost == ledger_live_count(ledger));
  for (const Json& loss : report.at("losses")) {
    if (loss.at("count") == 0 || loss.at("bytes").is_null()) continue;
    CHECK(totals.at("live_bytes").get<long>() + loss.at("bytes").get<long>() ==
          ledger_live_bytes(ledger));
  }
}

// Blocks that found no room are freed, too: that must not disturb those that did.
TEST_CASE("trace_capacity_block_table_full_then_freed") {
  if (cannot_trace()) return;
  const long blocks = scaled(50'000, 20'000);
  Target target("many_blocks", {std::to_string(blocks)});
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet", "--max-blocks", "4096"});
  trace.wait_until_tracing();
  target.run();
  const Json ledger = target.run("half");
  const Outcome outcome = trace.finish();
  const Json& report = outcome.report();
  check_sums_add_up(report);
  const Json& totals = report.at("totals");
  CHECK(count_of_losses(report) > 0);
  CHECK(totals.at("live_count").get<long>() <= ledger_live_count(ledger));
  CHECK(totals.at("live_bytes").get<long>() <= ledger_live_bytes(ledger));
  CHECK(totals.at("freed_count").get<long>() + totals.at("unmatched_frees").get<long>() ==
        ledger.at("totals").at("freed_count").get<long>());
}

TEST_CASE("trace_capacity_stack_table_full") {
  if (cannot_trace()) return;
  const long stacks = scaled(50'000, 10'000);
  Target target("many_stacks", {std::to_string(stacks)});
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet", "--max-stacks", "2048"});
  trace.wait_until_tracing();
  const Json ledger = target.run();
  const Outcome outcome = trace.finish();
  const Json& report = outcome.report();
  check_sums_add_up(report);
  CHECK(sums_of(report.at("totals")) == sums_of(ledger.at("totals")));
  long without_stack = 0;
  for (const Json& site : report.at("call_sites")) {
    if (site.at("stack") == "lost") without_stack += site.at("live_count").get<long>();
  }
  CHECK(without_stack > 0);
  CHECK(counted_as(report, "stack") >= without_stack);
}

TEST_CASE("trace_capacity_100000_stacks") {
  if (cannot_trace()) return;
  const long stacks = scaled(100'000, 1'000);
  Target target("many_stacks", {std::to_string(stacks)});
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet", "--max-stacks", "131072"});
  trace.wait_until_tracing();
  const Json ledger = target.run();
  const Outcome outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  const Json& report = outcome.report();
  check_ledger(report, ledger);
  check_sums_add_up(report);
  check_no_losses(report);
  CHECK(report.at("call_sites").size() == static_cast<std::size_t>(stacks));
  // The unwind rules of libc's start code are learned while the first ones come. Those are walked
  // in userspace as far as the ring holds them, or cut above main(). How many come until then is a
  // matter of time, that none is cut later is not.
  long odd = 0;
  long cut = 0;
  long last_cut = -1;
  for (const Json& site : report.at("call_sites")) {
    if (site.at("live_bytes") != 32 || !names(site, "main", site.at("frames").size())) ++odd;
    if (site.at("stack") == "lost" || site.at("frames").size() < 19) ++odd;
    if (site.at("stack") == "whole") continue;
    ++cut;
    last_cut = std::max(last_cut, stack_number(site));
  }
  CHECK(odd == 0);
  CHECK(last_cut < stacks / 2);
  CHECK(cut < stacks / 5);
}

TEST_CASE("trace_capacity_10_million_live_blocks") {
  if (cannot_trace()) return;
  const long blocks = scaled(10'000'000, 20'000);
  Target target("many_blocks", {std::to_string(blocks)});
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet", "--max-blocks",
               std::to_string(blocks + blocks / 16)});
  trace.wait_until_tracing();
  CHECK(ledger_live_count(target.run()) == blocks);
  const Json ledger = target.run("half");
  const Outcome outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  check_ledger(outcome.report(), ledger);
  check_sums_add_up(outcome.report());
  check_no_losses(outcome.report());
}

}  // namespace tidemark::test
