// SPDX-License-Identifier: Apache-2.0
//
// What call sites are called: file and line, calls that were inlined, code that a program compiled.
#include <doctest/doctest.h>

#include <fstream>

#include "tidemark.h"

namespace tidemark::test {
namespace {

struct Traced {
  Json ledger;
  Json report;  // whole: of an Outcome's documents a part of each frame is left out
  std::string text;
};

Traced trace_whole(Target& target) {
  const TempDir directory;
  const std::string json_file = directory.file("whole.json");
  Trace trace({"-p", target.pid_text(), "--exact", "--no-color", "--json", json_file});
  trace.wait_until_tracing();
  Traced traced;
  traced.ledger = target.run();
  const Outcome outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  CHECK(outcome.exit_code == 0);
  traced.text = outcome.out;
  std::ifstream file(json_file);
  traced.report = Json::parse(file, nullptr, false);
  REQUIRE_FALSE(traced.report.is_discarded());
  check_sums_add_up(traced.report);
  check_no_losses(traced.report);
  return traced;
}

// The frames of the call site that holds so many bytes in so many blocks.
Json frames_of(const Json& report, long blocks, long bytes) {
  for (const Json& site : report.at("call_sites")) {
    if (site.at("live_count") == blocks && site.at("live_bytes") == blocks * bytes)
      return site.at("frames");
  }
  FAIL("no call site holds " << blocks << " blocks of " << bytes << ": " << report.dump());
  return Json();
}

}  // namespace

TEST_CASE("trace_names_lines_and_inlined_calls") {
  if (cannot_trace()) return;
  Target target("inlined_caller");
  const Traced traced = trace_whole(target);
  const Json frames = frames_of(traced.report, 64, 100);
  INFO("frames: " << frames.dump());
  REQUIRE(frames.size() >= 4);
  const char* const functions[] = {"keep_one", "keep_next", "keep_all"};
  for (std::size_t at = 0; at < 3; ++at) {
    CHECK(frames[at].at("function").get<std::string>().find(functions[at]) != std::string::npos);
    CHECK(frames[at].at("file").get<std::string>().ends_with("/inlined_caller.cpp"));
    CHECK(frames[at].at("line") == traced.ledger.at("lines").at(at));
    CHECK(frames[at].at("inlined") == (at < 2));
    CHECK(frames[at].at("address") == frames[0].at("address"));
    CHECK(frames[at].at("offset") == frames[0].at("offset"));
    CHECK(frames[at].at("function_offset").is_null() == (at < 2));
  }
  CHECK(frame_name(frames[3]) == "main");
  CHECK(frames[3].at("line").is_number());
  CHECK(traced.text.find("(inlined) inlined_caller.cpp:" +
                         traced.ledger.at("lines").at(0).dump()) != std::string::npos);
}

TEST_CASE("trace_names_code_that_the_program_compiled") {
  if (cannot_trace()) return;
  Target target("jit_caller");
  const Traced traced = trace_whole(target);
  target.say("quit");
  const Json named = frames_of(traced.report, 32, 200);
  INFO("named: " << named.dump());
  REQUIRE(named.size() >= 2);
  CHECK(frame_name(named[0]) == "keep_by_named");
  CHECK(named[1].at("function") == "compiled_by_target");
  CHECK(named[1].at("module") == "[jit]");
  CHECK(named[1].at("function_offset") == 5);
  const Json unnamed = frames_of(traced.report, 16, 300);
  INFO("unnamed: " << unnamed.dump());
  REQUIRE(unnamed.size() >= 2);
  CHECK(frame_name(unnamed[0]) == "keep_by_unnamed");
  CHECK(unnamed[1].at("function").is_null());
  CHECK(unnamed[1].at("module") == "[anonymous]");
  CHECK(traced.text.find("compiled_by_target+0x5 ([jit])") != std::string::npos);
  CHECK(traced.text.find("[anonymous+0x45]") != std::string::npos);
}

}  // namespace tidemark::test
