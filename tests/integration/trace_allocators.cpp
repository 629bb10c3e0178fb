// SPDX-License-Identifier: Apache-2.0
//
// Every allocator: the ledger target is exact on each of them, linked, preloaded or static; two in
// one process are told apart and nothing is counted twice; one that is loaded later is attached to;
// a std::bad_alloc passes as if nobody looked; what cannot be traced says so in one line.
#include <doctest/doctest.h>
#include <unistd.h>

#include <set>

#include "tidemark.h"

namespace tidemark::test {
namespace {

constexpr long kOperations = 400'000;

std::string operations() {
  return std::to_string(scaled(kOperations, 20'000));
}

std::set<std::string> allocators_of(const Json& report) {
  std::set<std::string> names;
  for (const Json& site : report.at("call_sites"))
    names.insert(site.at("allocator").get<std::string>());
  return names;
}

Outcome trace_on(Target& target, const Words& options, Json& ledger) {
  Words words = {"-p", target.pid_text(), "--exact", "--quiet"};
  words.insert(words.end(), options.begin(), options.end());
  Trace trace(words);
  trace.wait_until_tracing();
  ledger = target.run();
  return trace.finish();
}

void check_exact(Target& target, const std::string& allocator, const Words& options = {}) {
  Json ledger;
  const Outcome outcome = trace_on(target, options, ledger);
  INFO("stderr: " << outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json& report = outcome.report();
  check_ledger(report, ledger);
  check_sums_add_up(report);
  check_no_losses(report);
  CHECK(report.at("totals").at("unmatched_frees").get<long>() == 0);
  CHECK(allocators_of(report).contains(allocator));
}

void check_ledger_on(const std::string& name, const std::string& entry_points,
                     const std::string& allocator, const Words& options = {}) {
  Target target(name, {"8", operations(), "11", "4000", entry_points});
  check_exact(target, allocator, options);
}

// Another allocator in place of the C library's, as a user does it.
void check_preloaded(const std::string& library, const std::string& allocator) {
  Target target(Words{"env", "LD_PRELOAD=" + library, target_path("ledger"), "4", operations(),
                      "12", "4000", "c++"});
  check_exact(target, allocator);
}

// libstdc++'s operator new stands between malloc and its caller, whose first stack may be cut
// there.
bool is_of_kept_block(const Json& site) {
  return names(site, "site_kept", 2) || names(site, "operator new", 1);
}

// The exceptions' own memory comes and goes at call sites of the C++ runtime.
void check_bad_alloc_passes(const std::string& name, const Words& arguments) {
  Target target(name, arguments);
  Json ledger;
  const Outcome outcome = trace_on(target, {}, ledger);
  INFO("stderr: " << outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json& report = outcome.report();
  CHECK(report.at("targets")[0].at("alive") == true);
  check_sums_add_up(report);
  check_no_losses(report);
  Sums kept;
  for (const Json& site : report.at("call_sites")) {
    if (!is_of_kept_block(site)) {
      INFO("not in the ledger: " << site.at("frames").dump());
      CHECK(site.at("live_count").get<long>() == 0);
      continue;
    }
    const Sums more = sums_of(site);
    kept.live_bytes += more.live_bytes;
    kept.live_count += more.live_count;
    kept.total_bytes += more.total_bytes;
    kept.total_count += more.total_count;
  }
  const Sums expected = sums_of(ledger.at("totals"));
  CHECK_MESSAGE(kept == expected,
                "the trace says " << to_text(kept) << "; the ledger " << to_text(expected));
}

}  // namespace

TEST_CASE("trace_allocators_jemalloc") {
  if (cannot_trace() || is_missing("ledger_jemalloc", "libjemalloc-dev")) return;
  check_ledger_on("ledger_jemalloc", "jemalloc", "jemalloc");
}

TEST_CASE("trace_allocators_jemalloc_probe_at_entry") {
  if (cannot_trace() || is_missing("ledger_jemalloc", "libjemalloc-dev")) return;
  check_ledger_on("ledger_jemalloc", "jemalloc", "jemalloc", {"--probe-at-entry"});
}

TEST_CASE("trace_allocators_jemalloc_static_in_the_executable") {
  if (cannot_trace() || is_missing("ledger_jemalloc_static", "libjemalloc-dev")) return;
  check_ledger_on("ledger_jemalloc_static", "jemalloc", "jemalloc");
}

TEST_CASE("trace_allocators_jemalloc_preloaded") {
  if (cannot_trace() || is_missing("ledger_jemalloc", "libjemalloc-dev")) return;
  check_preloaded("libjemalloc.so.2", "jemalloc");
}

TEST_CASE("trace_allocators_tcmalloc") {
  if (cannot_trace() || is_missing("ledger_tcmalloc", "libgoogle-perftools-dev")) return;
  check_ledger_on("ledger_tcmalloc", "c++", "tcmalloc");
}

TEST_CASE("trace_allocators_tcmalloc_preloaded") {
  if (cannot_trace() || is_missing("ledger_tcmalloc", "libgoogle-perftools-dev")) return;
  check_preloaded("libtcmalloc.so.4", "tcmalloc");
}

TEST_CASE("trace_allocators_tcmalloc_static_in_the_executable") {
  if (cannot_trace() || is_missing("ledger_tcmalloc_static", "libgoogle-perftools-dev")) return;
  check_ledger_on("ledger_tcmalloc_static", "c++", "tcmalloc");
}

// Called by the names of their prefix, the C library's malloc beside them; je_ has C23's frees,
// too.
TEST_CASE("trace_allocators_prefixed_je") {
  if (cannot_trace()) return;
  Target target("prefixed_je", {"5000"});
  check_exact(target, "jemalloc");
}

TEST_CASE("trace_allocators_prefixed_mi") {
  if (cannot_trace() || is_missing("prefixed_mimalloc", "libmimalloc-dev")) return;
  Target target("prefixed_mimalloc", {"5000"});
  check_exact(target, "mimalloc");
}

TEST_CASE("trace_allocators_mimalloc") {
  if (cannot_trace() || is_missing("ledger_mimalloc", "libmimalloc-dev")) return;
  check_ledger_on("ledger_mimalloc", "c++", "mimalloc");
}

TEST_CASE("trace_allocators_mimalloc_preloaded") {
  if (cannot_trace() || is_missing("ledger_mimalloc", "libmimalloc-dev")) return;
  check_preloaded("libmimalloc.so.2", "mimalloc");
}

TEST_CASE("trace_allocators_musl") {
  if (cannot_trace() || is_missing("ledger_musl", "musl-tools")) return;
  check_ledger_on("ledger_musl", "c", "musl");
}

TEST_CASE("trace_allocators_musl_static") {
  if (cannot_trace() || is_missing("ledger_musl_static", "musl-tools")) return;
  check_ledger_on("ledger_musl_static", "c", "musl");
}

TEST_CASE("trace_allocators_glibc_static") {
  if (cannot_trace()) return;
  check_ledger_on("ledger_static", "pvalloc", "glibc");
}

TEST_CASE("trace_allocators_two_in_one_process") {
  if (cannot_trace()) return;
  Target target("two_allocators", {target_path("own_allocator.so"), "early"});
  Json ledger;
  const Outcome outcome = trace_on(target, {}, ledger);
  INFO("stderr: " << outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json& report = outcome.report();
  check_ledger(report, ledger);
  check_sums_add_up(report);
  check_no_losses(report);
  for (const Json& site : report.at("call_sites")) {
    const bool libc = names(site, "site_libc", 1);
    CHECK(site.at("allocator") == (libc ? "glibc" : "other"));
  }
}

// Attached to while the target runs; that its first calls may have been missed is a loss, counted.
TEST_CASE("trace_allocators_loaded_by_dlopen_later") {
  if (cannot_trace()) return;
  Target target("two_allocators", {target_path("own_allocator.so")});
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet"});
  trace.wait_until_tracing();
  target.say("load");
  target.expect("loaded");
  ::usleep(3'000'000);
  const Json ledger = target.run();
  const Outcome outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json& report = outcome.report();
  const std::map<std::string, Sums> seen = by_caller(report);
  for (const Json& site : ledger.at("sites")) {
    const std::string function = site.at("function");
    REQUIRE_MESSAGE(seen.contains(function), function);
    CHECK_MESSAGE(seen.at(function) == sums_of(site), function);
  }
  CHECK(allocators_of(report).contains("other"));
  for (const Json& loss : report.at("losses")) {
    const bool late = loss.at("counter") == "late_probes";
    INFO("loss counter " << loss.at("counter").get<std::string>());
    CHECK(loss.at("count").get<long>() == (late ? 1 : 0));
  }
}

TEST_CASE("trace_allocators_bad_alloc_on_glibc") {
  if (cannot_trace()) return;
  check_bad_alloc_passes("bad_alloc", {"1000"});
}

TEST_CASE("trace_allocators_bad_alloc_on_jemalloc") {
  if (cannot_trace() || is_missing("bad_alloc_jemalloc", "libjemalloc-dev")) return;
  check_bad_alloc_passes("bad_alloc_jemalloc", {"1000"});
  check_bad_alloc_passes("bad_alloc_jemalloc", {"1000", "handler"});
  check_bad_alloc_passes("bad_alloc_jemalloc_static", {"1000"});
}

TEST_CASE("trace_allocators_bad_alloc_on_tcmalloc") {
  if (cannot_trace() || is_missing("bad_alloc_tcmalloc", "libgoogle-perftools-dev")) return;
  check_bad_alloc_passes("bad_alloc_tcmalloc", {"1000"});
  check_bad_alloc_passes("bad_alloc_tcmalloc", {"1000", "handler"});
}

TEST_CASE("trace_allocators_stripped_static_program_is_one_line") {
  if (cannot_trace()) return;
  Target target("ledger_static_stripped", {"1", "1000"});
  const Outcome outcome = run_tidemark({"trace", "-p", target.pid_text(), "--for", "1s"});
  CHECK(outcome.exit_code == 1);
  CHECK(lines_of(outcome.err).size() == 1);
  CHECK(outcome.err.find("stripped") != std::string::npos);
  const Outcome doctor = run_tidemark({"doctor", "-p", target.pid_text()});
  CHECK(doctor.exit_code == 1);
  CHECK(doctor.out.find("stripped") != std::string::npos);
}

// OpenTelemetry's contract: the target tells of some allocations, while somebody looks. What malloc
// gave out is counted once; of the rest each stands for several, and that is said.
TEST_CASE("trace_allocators_opentelemetry_contract") {
  if (cannot_trace() || is_missing("otel", "systemtap-sdt-dev")) return;
  constexpr long kRounds = 300;
  Target target("otel", {std::to_string(kRounds)});
  Json ledger;
  const Outcome outcome = trace_on(target, {}, ledger);
  INFO("stderr: " << outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json& report = outcome.report();
  check_ledger(report, ledger);
  check_sums_add_up(report);
  for (const Json& site : report.at("call_sites")) {
    const bool sampled = names(site, "site_pool", 1);
    CHECK(site.at("allocator") == (sampled ? "otel_memory" : "glibc"));
    CHECK(site.at("stack") == "whole");
    CHECK(site.at("live_bytes_error").get<long>() == kRounds * 4096);
  }
  for (const Json& loss : report.at("losses")) {
    const bool is_it = loss.at("counter") == "told_allocations";
    CHECK(loss.at("count").get<long>() == (is_it ? kRounds : 0));
  }
  CHECK(report.at("mode").at("exact") == false);
  CHECK(report.at("totals").at("unmatched_frees").get<long>() == 0);
  target.say("quiet");
  target.expect("quiet");  // its semaphores are as before
}

// The probes are on a malloc that nobody calls.
TEST_CASE("trace_allocators_silent_probes_are_told_with_candidates") {
  if (cannot_trace()) return;
  Target target("pool");
  Json ledger;
  const Outcome outcome = trace_on(target, {}, ledger);
  INFO("stderr: " << outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json& report = outcome.report();
  CHECK(report.at("totals").at("total_count").get<long>() == 0);
  std::string evidence;
  for (const Json& verdict : report.at("verdicts")) {
    if (verdict.at("area") == "coverage") evidence += verdict.at("evidence").get<std::string>();
  }
  INFO(evidence);
  CHECK(evidence.find("RssAnon grew by") != std::string::npos);
  CHECK(evidence.find("pool_alloc and pool_free (pool)") != std::string::npos);
}

// The verdict of doctor is that of trace: an allocator that nobody knows is no obstacle.
TEST_CASE("trace_allocators_doctor_agrees_with_trace") {
  if (cannot_trace()) return;
  Target target("two_allocators", {target_path("own_allocator.so"), "early"});
  const Outcome doctor = run_tidemark({"doctor", "-p", target.pid_text(), "-v"});
  INFO(doctor.out);
  CHECK(doctor.exit_code == 0);
  CHECK(doctor.out.find("other malloc") != std::string::npos);
  CHECK(doctor.out.find("trace works here") != std::string::npos);
}

}  // namespace tidemark::test
