// SPDX-License-Identifier: Apache-2.0
//
// `trace -- COMMAND`: from the first instruction to the exit, exactly, with the names of a process
// that is gone.
#include <doctest/doctest.h>

#include <fstream>

#include "tidemark.h"

namespace tidemark::test {
namespace {

// What the command itself printed: its ledger, the only line of stdout that is JSON.
Json ledger_in(const std::string& out) {
  for (const std::string& line : lines_of(out)) {
    if (line.starts_with("{\"sites\"")) return Json::parse(line);
  }
  throw std::runtime_error("the command said no ledger: " + out);
}

Words command_of(const Words& options, const Words& command) {
  Words words = options;
  words.emplace_back("--");
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

// Sums over the call sites that have this function in front, however deep their stacks.
Sums sums_at(const Json& report, const std::string& function) {
  const std::map<std::string, Sums> callers = by_caller(report);
  const auto found = callers.find(function);
  return found == callers.end() ? Sums{} : found->second;
}

// Probe hits that could not be told apart yet: kernels without attach cookies (before 5.15) know a
// probe by its address, which is noted when the library has been mapped.
long unknown_hits(const Json& report) {
  for (const Json& loss : report.at("losses")) {
    if (loss.at("counter") == "unknown_probes") return loss.at("count");
  }
  return 0;
}

void check_sites(const Json& report, const Json& ledger) {
  const long unknown = unknown_hits(report);
  for (const Json& site : ledger.at("sites")) {
    const std::string function = site.at("function");
    const Sums seen = sums_at(report, function);
    const Sums expected = sums_of(site);
    const bool right = unknown == 0 ? seen == expected
                                    : seen.total_count <= expected.total_count &&
                                          expected.total_count - seen.total_count <= unknown;
    CHECK_MESSAGE(right, function << ": the trace says " << to_text(seen) << "; the ledger "
                                  << to_text(expected) << "; unknown hits " << unknown);
  }
}

}  // namespace

TEST_CASE("trace_command_from_its_first_instruction_to_its_exit") {
  if (cannot_trace()) return;
  Trace trace(command_of({"--quiet"}, {target_path("short_lived"), "20", "5"}));
  const Outcome outcome = trace.finish(0);
  CHECK(outcome.exit_code == 0);
  const Json& report = outcome.report();
  check_sites(report, ledger_in(outcome.out));
  CHECK(count_of_losses(report) == unknown_hits(report));
  check_sums_add_up(report);
  REQUIRE(report.at("targets").size() == 1);
  const Json& target = report.at("targets")[0];
  CHECK(target.at("exit_code") == 5);
  CHECK(target.at("alive") == false);
  CHECK(target.at("comm") == "short_lived");
}

TEST_CASE("trace_command_script_by_its_interpreter") {
  if (cannot_trace()) return;
  const TempDir directory;
  const std::string script = directory.file("script");
  std::ofstream(script) << "#!" << target_path("short_lived") << " 7\n";
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  const Outcome outcome = Trace(command_of({"--quiet"}, {script})).finish(0);
  CHECK(outcome.exit_code == 0);
  check_sites(outcome.report(), ledger_in(outcome.out));
}

TEST_CASE("trace_command_short_programs_in_a_row") {
  if (cannot_trace()) return;
  const long programs = scaled(200, 10);
  for (long i = 0; i < programs; ++i) {
    CAPTURE(i);
    const long kept = i % 3;
    const Outcome outcome =
        Trace(command_of({"--quiet"}, {target_path("short_lived"), std::to_string(kept)}))
            .finish(0);
    REQUIRE(outcome.exit_code == 0);
    const Json& report = outcome.report();
    const Json ledger = ledger_in(outcome.out);
    check_sites(report, ledger);
    CHECK(count_of_losses(report) == unknown_hits(report));
    if (unknown_hits(report) > 0) continue;
    CHECK(report.at("verdicts").empty());
    REQUIRE(sums_of(report.at("totals")) == sums_of(ledger.at("totals")));
    if (kept == 0) CHECK(report.at("totals").at("live_count") == 0);
  }
}

TEST_CASE("trace_command_mistakes") {
  if (cannot_trace()) return;
  const TempDir directory;
  const std::string text = directory.file("text");
  std::ofstream(text) << "no program\n";
  const auto error_of = [](const Words& command) {
    const Outcome outcome = run_tidemark(command_of({"trace"}, command));
    CHECK(outcome.exit_code == 1);
    return outcome.err;
  };
  const auto has = [](const std::string& said, const std::string& part) {
    return said.find(part) != std::string::npos;
  };
  CHECK(has(error_of({"no-such-program-here"}), "no program of this name in PATH"));
  CHECK(has(error_of({directory.file("none")}), "there is no such file"));
  CHECK(has(error_of({text}), "may not be executed"));
  std::filesystem::permissions(text, std::filesystem::perms::owner_all);
  CHECK(has(error_of({text}), "for a script without a #! line name its shell"));
  CHECK(has(error_of({directory.file("")}), "may not be executed"));
}

}  // namespace tidemark::test
