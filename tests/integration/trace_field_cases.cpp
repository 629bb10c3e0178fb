// SPDX-License-Identifier: Apache-2.0
//
// Leaks as they were met in the field, each named by function within `--for 10s`.
#include <doctest/doctest.h>

#include "tidemark.h"

namespace tidemark::test {
namespace {

struct FieldCase {
  const char* target;
  const char* function;
  long block_bytes;
  std::size_t depth;  // the function stands among this many innermost frames
};

Json trace_field_case(const FieldCase& field_case) {
  Target target(field_case.target);
  target.say("go");
  Trace trace({"-p", target.pid_text(), "--exact", "--for", "10s", "--no-color"});
  trace.wait_until_tracing();
  const Outcome outcome = trace.finish(0);
  INFO("stderr: " << outcome.err);
  CHECK(outcome.exit_code == 0);
  const Json& report = outcome.report();
  check_sums_add_up(report);
  check_no_losses(report);
  REQUIRE(!report.at("call_sites").empty());
  const Json& top = report.at("call_sites")[0];
  INFO("topmost call site: " << top.dump());
  CHECK(names(top, field_case.function, field_case.depth));
  // Ten seconds of leaking, less a few blocks that are merely in use.
  CHECK(top.at("live_count").get<long>() >= 20);
  CHECK(top.at("live_bytes").get<long>() ==
        top.at("live_count").get<long>() * field_case.block_bytes);
  CHECK(report.at("totals").at("live_count").get<long>() <= top.at("live_count").get<long>() + 16);
  CHECK(outcome.out.find(field_case.function) != std::string::npos);
  CHECK(outcome.out.find("SUSPECT") != std::string::npos);
  return top;
}

}  // namespace

TEST_CASE("trace_field_request_lost_on_early_return") {
  if (cannot_trace()) return;
  trace_field_case({"field_early_return", "handle_request", 1500, 3});
}

TEST_CASE("trace_field_continue_skips_the_free_in_one_of_six_threads") {
  if (cannot_trace()) return;
  trace_field_case({"field_continue", "process_commands", 200, 1});
}

// A helper process for each request, its stack mapped and never unmapped.
TEST_CASE("trace_field_clone_stacks_are_never_unmapped") {
  if (cannot_trace()) return;
  const Json top = trace_field_case({"field_clone_stack", "start_helper", 40'960, 1});
  CHECK(top.at("kind") == "mapping");
  CHECK(top.at("purpose") == "clone_stack");
  CHECK(top.at("allocator") == "mmap");
  // Of each stack a page or two were touched; where they lie side by side, huge pages may hold
  // more.
  CHECK(top.at("resident_bytes").get<long>() > 0);
  CHECK(top.at("resident_bytes").get<long>() <= top.at("live_bytes").get<long>());
}

}  // namespace tidemark::test
