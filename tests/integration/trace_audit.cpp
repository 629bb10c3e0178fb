// SPDX-License-Identifier: Apache-2.0
//
// Suspects' blocks are looked up in the allocator's own books before they are judged, and the
// report says what came of it, or why nothing did.
#include <doctest/doctest.h>

#include <fstream>

#include "tidemark.h"

namespace tidemark::test {
namespace {

const Json* site_of(const Json& report, const std::string& function) {
  for (const Json& site : report.at("call_sites")) {
    if (!site.at("frames").empty() && frame_name(site.at("frames").front()) == function)
      return &site;
  }
  return nullptr;
}

long share(const Json& site, const char* what) {
  return site.at("audit").at(what).get<long>();
}

bool is_suspected(const Json& report, const std::string& function) {
  for (const Json& verdict : report.at("verdicts")) {
    if (verdict.at("severity") == "suspect" &&
        verdict.at("what").get<std::string>().find(function) != std::string::npos)
      return true;
  }
  return false;
}

Json coverage_of(const Json& report, const std::string& hook) {
  for (const Json& row : report.at("coverage")) {
    if (row.at("hook") == hook) return row;
  }
  return nullptr;
}

Outcome trace_hidden_frees(const Words& command, const Words& options = {}) {
  Target target(command);
  Words words{"-p", target.pid_text()};
  words.insert(words.end(), options.begin(), options.end());
  Trace trace(words);
  trace.wait_until_tracing();
  target.run();
  return trace.finish();
}

// What holds of it with every allocator whose books are read.
void check_audited(const Outcome& outcome, const std::string& allocator) {
  const Json& report = outcome.report();
  INFO(outcome.out);
  CHECK(coverage_of(report, "audit of " + allocator).at("state") == "on");
  const Json* kept = site_of(report, "keep_block");
  REQUIRE(kept != nullptr);
  REQUIRE(!kept->at("audit").is_null());
  CHECK(is_suspected(report, "keep_block"));
  CHECK(share(*kept, "looked_up") >= 32);
  CHECK(share(*kept, "dead") == 0);
  CHECK(share(*kept, "changed") == 0);
  CHECK(share(*kept, "unknown") == 0);
  CHECK(share(*kept, "looks_live_changed") == 0);
  CHECK(share(*kept, "looks_live_unchanged") > 0);
  CHECK(kept->at("audit").at("unchanged_for_ns") >= 100'000'000);
  CHECK(report.at("audit").at("looks") >= 2);
  CHECK(report.at("audit").at("bytes_read") > 0);
  CHECK(outcome.out.find("look live: same") != std::string::npos);
}

// Frees of a child that shares the memory are seen where the kernel's probes are for whoever runs
// there, and then there is nothing to refute: nothing counts as live. Else the blocks are found
// free.
void check_refuted(const Outcome& outcome, long least_percent) {
  const Json& report = outcome.report();
  const Json* handed = site_of(report, "hand_over");
  REQUIRE(handed != nullptr);
  CHECK_FALSE(is_suspected(report, "hand_over"));
  if (handed->at("live_count") == 0) {
    MESSAGE("this kernel's probes saw the frees of the child that shares the memory");
    CHECK(handed->at("live_bytes") == 0);
    return;
  }
  REQUIRE(!handed->at("audit").is_null());
  CHECK(share(*handed, "dead") * 100 >= share(*handed, "looked_up") * least_percent);
  CHECK(outcome.out.find("is no suspect") != std::string::npos);
}

}  // namespace

TEST_CASE("trace_audit_supports_a_leak_and_refutes_what_was_freed_unseen") {
  if (cannot_trace()) return;
  const Outcome outcome = trace_hidden_frees({target_path("hidden_frees")}, {"--exact"});
  check_audited(outcome, "glibc");
  check_refuted(outcome, 95);
}

TEST_CASE("trace_audit_runs_over_samples_and_groups_too") {
  if (cannot_trace()) return;
  SUBCASE("sampled") {
    const Outcome outcome = trace_hidden_frees({target_path("hidden_frees")}, {"--sample", "2K"});
    check_refuted(outcome, 95);
  }
  SUBCASE("a group") {
    Target target("hidden_frees");
    // Until 6.14 the kernel takes the number of fexecve()'s descriptor for the name.
    std::string comm;
    std::getline(std::ifstream("/proc/" + target.pid_text() + "/comm"), comm);
    Trace trace({"--comm", comm, "--exact"});
    trace.wait_until_tracing();
    target.run();
    check_audited(trace.finish(), "glibc");
  }
}

TEST_CASE("trace_audit_knows_musl") {
  if (cannot_trace() || is_missing("hidden_frees_musl", "musl-tools")) return;
  const Outcome outcome = trace_hidden_frees({target_path("hidden_frees_musl")}, {"--exact"});
  check_audited(outcome, "musl");
  check_refuted(outcome, 95);
}

// Off, said, and the suspect judged as it would be without.
void check_off(const Outcome& outcome, const std::string& hook, const std::string& reason) {
  const Json& report = outcome.report();
  INFO(outcome.out);
  const Json row = coverage_of(report, hook);
  REQUIRE(!row.is_null());
  CHECK(row.at("state") == "off");
  CHECK(row.at("reason").get<std::string>().find(reason) != std::string::npos);
  const Json* kept = site_of(report, "keep_block");
  REQUIRE(kept != nullptr);
  CHECK(kept->at("audit").is_null());
  CHECK(report.at("audit").is_null());
  CHECK(is_suspected(report, "keep_block"));
  CHECK(outcome.out.find("off: " + hook) != std::string::npos);
}

TEST_CASE("trace_audit_is_off_where_it_was_asked_for") {
  if (cannot_trace()) return;
  check_off(trace_hidden_frees({target_path("hidden_frees")}, {"--exact", "--no-audit"}), "audit",
            "--no-audit");
}

TEST_CASE("trace_audit_is_off_where_the_version_is_not_known") {
  if (cannot_trace()) return;
  check_off(trace_hidden_frees(
                {"env", "LD_PRELOAD=" + target_path("libc-2.99.so"), target_path("hidden_frees")},
                {"--exact"}),
            "audit of glibc", "version 2.99");
}

TEST_CASE("trace_audit_is_off_where_an_allocator_only_looks_like_glibc") {
  if (cannot_trace()) return;
  check_off(trace_hidden_frees(
                {"env", "LD_PRELOAD=" + target_path("libc-2.36.so"), target_path("hidden_frees")},
                {"--exact"}),
            "audit of glibc", "main arena was not found");
}

// What waits in its threads' caches is not free by its books.
TEST_CASE("trace_audit_knows_jemalloc") {
  if (cannot_trace()) return;
  const Outcome outcome = trace_hidden_frees(
      {"env", "LD_PRELOAD=libjemalloc.so.2", target_path("hidden_frees")}, {"--exact"});
  check_audited(outcome, "jemalloc");
  check_refuted(outcome, 80);
}

TEST_CASE("trace_audit_says_which_allocators_keep_books_that_it_cannot_read") {
  if (cannot_trace()) return;
  check_off(trace_hidden_frees({"env", "LD_PRELOAD=libmimalloc.so.2", target_path("hidden_frees")},
                               {"--exact"}),
            "audit of mimalloc", "layout of its pages");
}

}  // namespace tidemark::test
