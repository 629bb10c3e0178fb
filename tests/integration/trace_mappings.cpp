// SPDX-License-Identifier: Apache-2.0
//
// Mappings: exact as intervals, named by what they are for, and never counted beside the heap that
// lies in them.
#include <doctest/doctest.h>

#include <set>

#include "tidemark.h"

namespace tidemark::test {
namespace {

Json run_traced(Target& target, Trace& trace, Outcome& outcome) {
  trace.wait_until_tracing();
  const Json ledger = target.run();
  outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  CHECK(outcome.exit_code == 0);
  check_sums_add_up(outcome.report());
  check_no_losses(outcome.report());
  return ledger;
}

long note(const Json& report, const std::string& counter) {
  for (const Json& row : report.at("notes")) {
    if (row.at("counter") == counter) return row.at("count");
  }
  throw std::runtime_error("no such note: " + counter);
}

std::vector<Json> sites_of(const Json& report, const std::string& kind) {
  std::vector<Json> found;
  for (const Json& site : report.at("call_sites")) {
    if (site.at("kind") == kind) found.push_back(site);
  }
  return found;
}

const Json& apart_row(const Json& report, const std::string& purpose) {
  for (const Json& row : report.at("apart")) {
    if (row.at("purpose") == purpose) return row;
  }
  throw std::runtime_error("nothing of this purpose: " + purpose);
}

// What the allocator maps, however much at a time, is no call site: only the program's own is.
Json check_backing(Target& target, const std::string& allocator, Outcome& outcome) {
  Trace trace({"-p", target.pid_text(), "--exact", "--no-color"});
  const Json ledger = run_traced(target, trace, outcome);
  const Json& report = outcome.report();
  check_ledger(report, ledger);
  const std::vector<Json> mappings = sites_of(report, "mapping");
  REQUIRE(mappings.size() == 1);
  CHECK(frame_name(mappings[0].at("frames")[0]) == "site_own_mapping");
  for (const Json& site : sites_of(report, "heap")) CHECK(site.at("allocator") == allocator);
  const long own = report.at("totals").at("mapping_live_bytes");
  CHECK(own == 1 << 20);
  // All blocks were allocated in the trace, so the memory that holds them was mapped in it, but for
  // what the allocator had left.
  const Json backing = apart_row(report, "heap_backing");
  CHECK(backing.at("live_bytes").get<long>() >=
        (report.at("totals").at("live_bytes").get<long>() - own) / 2);
  // The small blocks were not touched, but the allocator wrote its headers.
  CHECK(backing.at("resident_bytes").get<long>() > 0);
  CHECK(outcome.out.find("not in the sums") != std::string::npos);
  return backing;
}

// The only call site of mappings is the program's own; what the allocator mapped is another row.
Json mapped_by_allocator(const Words& command, const Words& options) {
  Target target(command);
  Words words = {"-p", target.pid_text(), "--quiet"};
  words.insert(words.end(), options.begin(), options.end());
  Trace trace(words);
  Outcome outcome;
  (void)run_traced(target, trace, outcome);
  const Json& report = outcome.report();
  const std::vector<Json> mappings = sites_of(report, "mapping");
  REQUIRE(mappings.size() == 1);
  CHECK(frame_name(mappings[0].at("frames")[0]) == "site_own_mapping");
  CHECK(report.at("totals").at("mapping_live_bytes") == 1 << 20);
  return apart_row(report, "heap_backing");
}

// Most calls of the allocator are not seen to return where blocks are sampled. `figure`: of the
// mappings, which the allocator makes the same of in every run, but for a quarter: which thread
// gets which arena is a matter of time.
void check_backing_sampled(const Words& command, const char* figure) {
  const auto exact = mapped_by_allocator(command, {"--exact"}).at(figure).get<double>();
  for (const Words& way : {Words{"--sample", "512K"}, Words{"--sample", "512K", "--no-sessions"}}) {
    CHECK(mapped_by_allocator(command, way).at(figure).get<double>() ==
          doctest::Approx(exact).epsilon(0.25));
  }
}

void check_backing_preloaded(const std::string& library, const std::string& allocator) {
  Target target(Words{"env", "LD_PRELOAD=" + library, target_path("heap_backing"), "8"});
  Outcome outcome;
  check_backing(target, allocator, outcome);
}

}  // namespace

// mmap, munmap of parts, mremap, MAP_FIXED over old ones, brk, shmat, and all of them failing;
// addresses are reused by other threads at once.
TEST_CASE("trace_mappings_exact_as_intervals") {
  if (cannot_trace()) return;
  Target target("mapping_ledger", {"4", std::to_string(scaled(1024, 64))});
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet"});
  Outcome outcome;
  const Json ledger = run_traced(target, trace, outcome);
  const Json& report = outcome.report();
  check_ledger(report, ledger);
  for (const Json& site : report.at("call_sites")) {
    const std::string caller = frame_name(site.at("frames")[0]);
    INFO("call site of " << caller);
    CHECK(site.at("kind") == "mapping");
    CHECK(site.at("purpose").is_null());
    const bool moves = caller == "site_grow" || caller == "site_move" || caller == "site_shrink";
    CHECK(site.at("allocator") == (moves                     ? "mremap"
                                   : caller == "site_break"  ? "brk"
                                   : caller == "site_attach" ? "shmat"
                                                             : "mmap"));
  }
  CHECK(report.at("totals").at("mapping_live_bytes") == report.at("totals").at("live_bytes"));
}

TEST_CASE("trace_mappings_exact_with_one_thread") {
  if (cannot_trace()) return;
  Target target("mapping_ledger", {"1", "40"});
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet"});
  Outcome outcome;
  const Json ledger = run_traced(target, trace, outcome);
  check_ledger(outcome.report(), ledger);
  // Five times five calls of each kind that fail; munmap and shmdt of what is not there.
  CHECK(note(outcome.report(), "failed_allocations") >= 15);
  // Each was called once or few times, and for the first time in the trace: no rule was known then.
  for (const Json& site : outcome.report().at("call_sites")) CHECK(site.at("stack") == "whole");
}

// What an allocator maps for its blocks is told, and no sum has it.
TEST_CASE("trace_mappings_of_the_heap_are_not_counted_twice") {
  if (cannot_trace()) return;
  Target target("heap_backing", {"8"});
  Outcome outcome;
  const Json backing = check_backing(target, "glibc", outcome);
  const Json& totals = outcome.report().at("totals");
  // One of the large blocks of each thread was freed, and its mapping with it.
  CHECK(backing.at("live_bytes").get<long>() >=
        totals.at("live_bytes").get<long>() - totals.at("mapping_live_bytes").get<long>());
  CHECK(backing.at("live_count").get<long>() >= 8 * 39);
  CHECK(backing.at("total_count").get<long>() >= backing.at("live_count").get<long>() + 8);
}

TEST_CASE("trace_mappings_of_jemalloc_are_not_counted_twice") {
  if (cannot_trace() || is_missing("ledger_jemalloc", "libjemalloc-dev")) return;
  check_backing_preloaded("libjemalloc.so.2", "jemalloc");
}

TEST_CASE("trace_mappings_of_tcmalloc_are_not_counted_twice") {
  if (cannot_trace() || is_missing("ledger_tcmalloc", "libgoogle-perftools-dev")) return;
  check_backing_preloaded("libtcmalloc.so.4", "tcmalloc");
}

TEST_CASE("trace_mappings_of_mimalloc_are_not_counted_twice") {
  if (cannot_trace() || is_missing("ledger_mimalloc", "libmimalloc-dev")) return;
  check_backing_preloaded("libmimalloc.so.2", "mimalloc");
}

TEST_CASE("trace_mappings_of_the_heap_are_told_apart_where_blocks_are_sampled") {
  if (cannot_trace()) return;
  // One for each large block, and those of the arenas.
  check_backing_sampled({target_path("heap_backing"), "8"}, "live_count");
}

TEST_CASE("trace_mappings_of_other_allocators_are_told_apart_where_blocks_are_sampled") {
  if (cannot_trace() || is_missing("ledger_jemalloc", "libjemalloc-dev") ||
      is_missing("ledger_tcmalloc", "libgoogle-perftools-dev") ||
      is_missing("ledger_mimalloc", "libmimalloc-dev"))
    return;
  for (const char* library : {"libjemalloc.so.2", "libtcmalloc.so.4", "libmimalloc.so.2"}) {
    INFO(library);
    check_backing_sampled(
        {"env", std::string("LD_PRELOAD=") + library, target_path("heap_backing"), "8"},
        "total_bytes");
  }
}

// A library that comes by dlopen, a thread: what the dynamic linker maps is no call site.
TEST_CASE("trace_mappings_of_the_loader_are_told_apart") {
  if (cannot_trace()) return;
  Target target("opens_library");
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet"});
  Outcome outcome;
  const Json ledger = run_traced(target, trace, outcome);
  const Json& report = outcome.report();
  const std::vector<Json> mappings = sites_of(report, "mapping");
  REQUIRE(mappings.size() == 1);
  CHECK(frame_name(mappings[0].at("frames")[0]) == "site_map_file");
  CHECK(mappings[0].at("purpose") == "file");
  CHECK(sums_of(mappings[0]) == sums_of(ledger.at("sites")[0]));
  const Json& loader = apart_row(report, "loader");
  CHECK(loader.at("live_count").get<long>() >= 1);
  CHECK(loader.at("live_bytes").get<long>() >= 32768);
}

// A thread pool is large in address space and small in memory, and says which of the two it is.
TEST_CASE("trace_mappings_96_thread_stacks_are_virtual") {
  if (cannot_trace()) return;
  Target target("many_thread_stacks", {"96"});
  Trace trace({"-p", target.pid_text(), "--exact", "--no-color"});
  Outcome outcome;
  const Json ledger = run_traced(target, trace, outcome);
  const Json& report = outcome.report();
  constexpr long kMiB = 1 << 20;
  long stacks = 0;
  for (const Json& site : sites_of(report, "mapping")) {
    if (!names(site, "start_pool", 3)) continue;
    stacks += site.at("live_count").get<long>();
    CHECK(site.at("purpose") == "thread_stack");
    CHECK(site.at("live_bytes").get<long>() >= site.at("live_count").get<long>() * 32 * kMiB);
    // Some pages each: its thread has hardly run.
    CHECK(site.at("resident_bytes").get<long>() > 0);
    CHECK(site.at("resident_bytes").get<long>() < site.at("live_count").get<long>() * kMiB);
  }
  CHECK(stacks == 96);
  // What was given back by MADV_DONTNEED is address space still, and no memory.
  std::multiset<long> resident;
  std::string found;  // for who reads a failure
  for (const Json& site : sites_of(report, "mapping")) {
    if (!names(site, "touch_half", 1)) continue;
    resident.insert(site.at("resident_bytes").get<long>());
    found += site.dump() + "\n";
  }
  INFO(found);
  CHECK(resident == std::multiset<long>{0, 4 * kMiB});
  CHECK(by_caller(report).at("touch_half") == sums_of(ledger.at("sites")[0]));
  CHECK(report.at("totals").at("mapping_live_bytes").get<long>() >= 96 * 32 * kMiB);
  CHECK(report.at("totals").at("mapping_resident_bytes").get<long>() < 96 * kMiB);
  // Three GiB of address space explain no growth of the resident set.
  CHECK(report.at("explains").at("tracked_growth_bytes").get<long>() < 96 * kMiB);
  CHECK(outcome.out.find("thread stacks") != std::string::npos);
  CHECK(outcome.out.find("address space") != std::string::npos);
}

// Nothing of the old image stays; the new one is counted by itself.
TEST_CASE("trace_mappings_exec_drops_all") {
  if (cannot_trace()) return;
  Target target("execs_mappings");
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet"});
  Outcome outcome;
  const Json ledger = run_traced(target, trace, outcome);
  const auto callers = by_caller(outcome.report());
  REQUIRE(callers.contains("map_before_exec"));
  CHECK(callers.at("map_before_exec").live_count == 0);
  CHECK(callers.at("map_before_exec").total_count == 3);
  REQUIRE(callers.contains("map_after_exec"));
  CHECK(callers.at("map_after_exec") == sums_of(ledger.at("sites")[0]));
  CHECK(note(outcome.report(), "dropped_at_exec") >= 3);
}

// Nobody follows a tracer that did not look: what was there before is not ours.
TEST_CASE("trace_mappings_of_before_are_not_counted") {
  if (cannot_trace()) return;
  Target target("execs_mappings", {"before"});
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet"});
  Outcome outcome;
  const Json ledger = run_traced(target, trace, outcome);
  check_ledger(outcome.report(), ledger);
  CHECK(note(outcome.report(), "unmatched_unmaps") == 2);
}

}  // namespace tidemark::test
