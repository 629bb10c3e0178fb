// SPDX-License-Identifier: Apache-2.0
//
// A trace from its start to its end: what the target's exit, exec and fork do to it, what ends it,
// and in which forms it speaks.
#include <doctest/doctest.h>

#include <fstream>
#include <sstream>

#include "tidemark.h"

namespace tidemark::test {
namespace {

// The newest generation of the process: an exec makes another.
const Json& target_row(const Json& report, pid_t pid) {
  const Json* newest = nullptr;
  for (const Json& row : report.at("targets")) {
    if (row.at("pid") != pid) continue;
    if (newest == nullptr || row.at("generation") > newest->at("generation")) newest = &row;
  }
  if (newest != nullptr) return *newest;
  throw std::runtime_error("no such pid in targets: " + std::to_string(pid));
}

std::string contents_of(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

// Nobody stops the trace, and it has an hour: the report comes because the target is gone.
TEST_CASE("trace_life_target_exits_by_itself") {
  if (cannot_trace()) return;
  Target target("exits_soon", {"100"});
  Trace trace({"-p", target.pid_text(), "--exact", "--for", "1h"});
  trace.wait_until_tracing();
  // Until 6.14 the kernel takes the number of fexecve()'s descriptor for the name.
  std::string comm;
  std::getline(std::ifstream("/proc/" + target.pid_text() + "/comm"), comm);
  const Json ledger = target.run();
  CHECK(target.process().wait_exit()->code == 7);
  const Outcome outcome = trace.finish(0);
  CHECK(outcome.exit_code == 0);
  const Json& report = outcome.report();
  check_ledger(report, ledger);
  check_no_losses(report);
  CHECK(target_row(report, target.pid()).at("alive") == false);
  CHECK(target_row(report, target.pid()).at("exit_code") == 7);
  CHECK(target_row(report, target.pid()).at("comm") == comm);
  CHECK(outcome.out.find("leave_behind") != std::string::npos);
}

TEST_CASE("trace_life_target_is_killed") {
  if (cannot_trace()) return;
  Target target("many_blocks", {"100"});
  Trace trace({"-p", target.pid_text(), "--exact", "--for", "1h", "--quiet"});
  trace.wait_until_tracing();
  const Json ledger = target.run();
  target.process().signal(SIGKILL);
  REQUIRE(target.process().wait_exit());
  const Outcome outcome = trace.finish(0);
  CHECK(outcome.exit_code == 0);
  check_ledger(outcome.report(), ledger);
  CHECK(target_row(outcome.report(), target.pid()).at("alive") == false);
}

TEST_CASE("trace_life_exec_leaves_nothing_of_the_old_image") {
  if (cannot_trace()) return;
  Target target("execs");
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet"});
  trace.wait_until_tracing();
  target.run();
  target.say("exec");
  target.expect("ready");
  const Json ledger = target.run();
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  const std::map<std::string, Sums> callers = by_caller(outcome.report());
  // What it did stays told; what it held is gone.
  REQUIRE(callers.contains("before_exec"));
  CHECK(callers.at("before_exec").live_bytes == 0);
  CHECK(callers.at("before_exec").live_count == 0);
  CHECK(outcome.report().at("targets").size() == 2);
  CHECK(outcome.report().at("targets")[0].at("alive") == false);
  const Sums after = sums_of(ledger.at("sites")[0]);
  const Sums seen = callers.contains("after_exec") ? callers.at("after_exec") : Sums{};
  // Without attach cookies (before 5.15) calls are missing until the new image's probes are noted.
  const long unknown = count_of_losses(outcome.report());
  CHECK(seen.total_count + unknown == after.total_count);
  if (unknown == 0) CHECK(seen == after);
  CHECK(target_row(outcome.report(), target.pid()).at("alive") == true);
}

TEST_CASE("trace_life_fork_changes_nothing_of_the_parent") {
  if (cannot_trace()) return;
  Target target("forker");
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet"});
  trace.wait_until_tracing();
  const Json ledger = target.run();
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  const Json& report = outcome.report();
  check_no_losses(report);
  check_sums_add_up(report);
  Json of_parent = report;
  of_parent["call_sites"] = Json::array();
  for (const Json& site : report.at("call_sites")) {
    if (site.at("pid").is_null() || site.at("pid") == target.pid()) {
      of_parent["call_sites"].push_back(site);
    }
  }
  const std::map<std::string, Sums> callers = by_caller(of_parent);
  CHECK(callers.size() == 1);
  REQUIRE(callers.contains("parent_blocks"));
  CHECK(callers.at("parent_blocks") == sums_of(ledger.at("sites")[0]));
}

TEST_CASE("trace_life_signals_give_the_final_report") {
  if (cannot_trace()) return;
  for (const int number : {SIGINT, SIGTERM}) {
    CAPTURE(number);
    Target target("many_blocks", {"64"});
    Trace trace({"-p", target.pid_text(), "--exact", "--no-color"});
    trace.wait_until_tracing();
    const Json ledger = target.run();
    const Outcome outcome = trace.finish(number);
    CHECK(outcome.exit_code == 0);
    check_ledger(outcome.report(), ledger);
    CHECK(outcome.out.find("allocate_block") != std::string::npos);
    CHECK(outcome.out.find('\x1b') == std::string::npos);
  }
}

TEST_CASE("trace_life_for_ends_by_itself") {
  if (cannot_trace()) return;
  Target target("many_blocks", {"64"});
  Trace trace({"-p", target.pid_text(), "--exact", "--for", "2s"});
  trace.wait_until_tracing();
  const Json ledger = target.run();
  const Outcome outcome = trace.finish(0);
  CHECK(outcome.exit_code == 0);
  check_ledger(outcome.report(), ledger);
  CHECK(outcome.report().at("schema") == "tidemark.trace/1");
  CHECK(outcome.report().at("duration_ns").get<long>() >= 1'900'000'000);
}

TEST_CASE("trace_life_every_writes_one_document_a_line") {
  if (cannot_trace()) return;
  Target target("field_continue");
  target.say("go");
  Trace trace({"-p", target.pid_text(), "--exact", "--every", "1s", "--for", "5s"});
  trace.wait_until_tracing();
  const Outcome outcome = trace.finish(0);
  CHECK(outcome.exit_code == 0);
  REQUIRE(outcome.documents.size() >= 3);
  long before = 0;
  for (const Json& document : outcome.documents) {
    CHECK(document.at("schema") == "tidemark.trace/1");
    check_sums_add_up(document);
    check_no_losses(document);
    const long total = document.at("totals").at("total_count");
    CHECK(total >= before);
    before = total;
  }
  CHECK(before > 0);
}

TEST_CASE("trace_life_folded_stacks") {
  if (cannot_trace()) return;
  const TempDir directory;
  const std::string path = directory.file("trace.folded");
  Target target("many_stacks", {"50"});
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet", "--folded", path});
  trace.wait_until_tracing();
  const Json ledger = target.run();
  CHECK(trace.finish().exit_code == 0);
  long sum = 0;
  for (const std::string& line : lines_of(contents_of(path))) {
    INFO("line: " << line);
    const std::size_t space = line.rfind(' ');
    REQUIRE(space != std::string::npos);
    const std::string stack = line.substr(0, space);
    // The root comes first, the allocator's caller last.
    CHECK(stack.substr(stack.rfind(';') + 1) == "leaf");
    CHECK(stack.find(";main;") != std::string::npos);
    sum += std::stol(line.substr(space + 1));
  }
  CHECK(sum == ledger.at("totals").at("live_bytes").get<long>());
}

TEST_CASE("trace_life_json_on_stdout_replaces_the_text") {
  if (cannot_trace()) return;
  Target target("many_blocks", {"64"});
  Trace trace({"-p", target.pid_text(), "--exact", "--json", "-"});
  trace.wait_until_tracing();
  const Json ledger = target.run();
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  const Json report = Json::parse(outcome.out, nullptr, false);
  REQUIRE(!report.is_discarded());
  check_ledger(report, ledger);
}

TEST_CASE("trace_life_fail_on_suspect") {
  if (cannot_trace()) return;
  Target target("field_early_return");
  target.say("go");
  Trace trace({"-p", target.pid_text(), "--exact", "--for", "10s", "--every", "1s", "--quiet",
               "--fail-on-suspect"});
  trace.wait_until_tracing();
  const Outcome outcome = trace.finish(0);
  CHECK(outcome.exit_code == 3);
}

TEST_CASE("trace_life_no_suspect_is_no_failure") {
  if (cannot_trace()) return;
  const Target target("idle");
  Trace trace({"-p", target.pid_text(), "--exact", "--for", "2s", "--quiet", "--fail-on-suspect"});
  trace.wait_until_tracing();
  CHECK(trace.finish(0).exit_code == 0);
}

TEST_CASE("trace_life_an_empty_report_says_why") {
  if (cannot_trace()) return;
  const Target target("idle");
  Trace trace({"-p", target.pid_text(), "--exact", "--for", "1s", "--no-color"});
  trace.wait_until_tracing();
  const Outcome outcome = trace.finish(0);
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.report().at("call_sites").empty());
  INFO("text: " << outcome.out);
  const bool explained = outcome.out.find("no alloc") != std::string::npos ||
                         outcome.out.find("not alloc") != std::string::npos ||
                         outcome.out.find("nothing") != std::string::npos ||
                         outcome.out.find("Nothing") != std::string::npos ||
                         outcome.out.find("because") != std::string::npos;
  CHECK(explained);
}

// Two processes of one program: every call site says whose it is.
TEST_CASE("trace_life_two_pids") {
  if (cannot_trace()) return;
  Target one("many_blocks", {"100"});
  Target two("many_stacks", {"20"});
  Trace trace({"-p", one.pid_text(), "-p", two.pid_text(), "--exact", "--quiet"});
  trace.wait_until_tracing();
  const Json ledger_one = one.run();
  const Json ledger_two = two.run();
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  check_sums_add_up(outcome.report());
  const std::map<std::string, Sums> callers = by_caller(outcome.report());
  CHECK(callers.size() == 2);
  CHECK(callers.at("allocate_block") == sums_of(ledger_one.at("sites")[0]));
  CHECK(callers.at("leaf") == sums_of(ledger_two.at("sites")[0]));
  for (const Json& site : outcome.report().at("call_sites")) {
    CHECK(site.at("pid") == (names(site, "leaf", 1) ? two.pid() : one.pid()));
  }
}

}  // namespace tidemark::test
