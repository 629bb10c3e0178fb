// SPDX-License-Identifier: Apache-2.0
//
// Our sums beside the kernel's own, and the verdicts on kernel memory.
#include <doctest/doctest.h>

#include <algorithm>

#include "model/kernel_analysis.h"
#include "model/kernel_snapshot.h"

using namespace tidemark::model;

namespace {

KernelBooks books(std::map<std::string, uint64_t> objects, uint64_t pages = 0) {
  KernelBooks made;
  made.active_objects = std::move(objects);
  made.used_pages = pages;
  return made;
}

CallSite leak(const char* cache, uint64_t stack, uint64_t count) {
  CallSite site;
  site.kind = Kind::kSlab;
  site.place.cache = cache;
  site.stack = StackId{stack};
  site.total_count = count;
  site.total_bytes = count * 256;
  for (auto& quarter : site.live_by_quarter) quarter = count / 4;
  return site;
}

KernelSnapshot snapshot_of(std::vector<CallSite> sites) {
  KernelSnapshot snapshot;
  snapshot.trace.taken_ns = 10'000'000'000;
  snapshot.trace.call_sites = std::move(sites);
  return snapshot;
}

const Finding* together_in(const std::vector<Finding>& findings) {
  const auto found = std::ranges::find_if(findings, [](const Finding& finding) {
    return finding.what.find("grow together") != std::string::npos;
  });
  return found == findings.end() ? nullptr : &*found;
}

}  // namespace

TEST_CASE("reconcile: gains of both sides, what was not seen, and the trust in it") {
  const std::vector<CacheTally> tallies = {
      {.cache = "dentry", .live_count = 50, .freed_count = 100, .old_frees = 10},
      {.cache = "maple_node",
       .live_count = 30,
       .freed_count = 100,
       .missed_frees = 60,
       .dropped_by_verification = 10}};
  const auto rows = reconcile_caches(tallies, books({{"dentry", 1000}, {"maple_node", 200}}),
                                     books({{"dentry", 1042}, {"maple_node", 205}}));
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].cache == "maple_node");  // the larger difference first
  CHECK(rows[0].gained_live_count == 30);
  CHECK(rows[0].gained_kernel_count == 5);
  CHECK(rows[0].unseen() == -25);
  CHECK(rows[0].missed_frees == 60);
  CHECK(rows[0].trust == doctest::Approx(0.3));  // 30 of 100 frees were seen
  CHECK(rows[1].gained_live_count == 40);
  CHECK(rows[1].gained_kernel_count == 42);
  CHECK(rows[1].unseen() == 2);
  CHECK(rows[1].trust == doctest::Approx(1.0));
}

TEST_CASE("reconcile: k planted missed frees move the trust figure by k") {
  for (const uint64_t missed : {0ull, 1ull, 5ull, 20ull}) {
    const auto rows = reconcile_caches(
        {{.cache = "a", .live_count = 1, .freed_count = 20, .missed_frees = missed}}, {}, {});
    REQUIRE(rows.size() == 1);
    CHECK(rows[0].trust == doctest::Approx(1.0 - static_cast<double>(missed) / 20.0));
  }
}

TEST_CASE("reconcile: a cache that we never saw is told, one that stood still is not") {
  const auto rows = reconcile_caches({}, books({{"filp", 10}, {"still", 5}}),
                                     books({{"filp", 90}, {"still", 5}, {"new", 3}}));
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].cache == "filp");
  CHECK(rows[0].unseen() == 80);
  CHECK_FALSE(rows[0].trust.has_value());
  CHECK(rows[1].cache == "new");
  CHECK(rows[1].gained_kernel_count == 3);
}

TEST_CASE("reconcile: without slabinfo the kernel's side is unknown, never 0") {
  const auto rows = reconcile_caches({{.cache = "dentry", .live_count = 3}}, {}, {});
  REQUIRE(rows.size() == 1);
  CHECK_FALSE(rows[0].gained_kernel_count.has_value());
  CHECK_FALSE(rows[0].unseen().has_value());
  const auto pages = reconcile_pages({.allocated_pages = 100, .freed_pages = 140}, {}, {});
  CHECK(pages.gained_live_count == -40);
  CHECK_FALSE(pages.unseen().has_value());
}

TEST_CASE("reconcile: caches of one name are one row") {
  const auto rows = reconcile_caches(
      {{.cache = "x", .live_count = 2}, {.cache = "x", .live_count = 5, .old_frees = 1}}, {}, {});
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].gained_live_count == 6);
}

TEST_CASE("kernel verdicts: three caches with the same count are one graph of objects") {
  const auto snapshot =
      snapshot_of({leak("kmalloc-2k", 1, 100'000), leak("TSPacket", 2, 100'000),
                   leak("skbuff_head_cache", 3, 99'996), leak("dentry", 4, 60'000)});
  const auto findings = analyse_kernel(snapshot, {});
  const Finding* together = together_in(findings);
  REQUIRE(together != nullptr);
  CHECK(together == &findings.front());
  CHECK(together->severity == Severity::kSuspect);
  CHECK(together->evidence.find("TSPacket (100,000)") != std::string::npos);
  CHECK(together->evidence.find("skbuff_head_cache (99,996)") != std::string::npos);
  CHECK(together->evidence.find("dentry") == std::string::npos);
  CHECK(together->site.has_value());
}

TEST_CASE("kernel verdicts: few objects, one cache and counts apart are chance") {
  CHECK(together_in(analyse_kernel(snapshot_of({leak("a", 1, 400), leak("b", 2, 400)}), {})) ==
        nullptr);
  CHECK(together_in(analyse_kernel(snapshot_of({leak("a", 1, 40000), leak("a", 2, 40000)}), {})) ==
        nullptr);
  CHECK(together_in(analyse_kernel(snapshot_of({leak("a", 1, 40000), leak("b", 2, 39000)}), {})) ==
        nullptr);
}

TEST_CASE("kernel verdicts: a growing call site is one of its kind of memory") {
  const auto findings = analyse_kernel(snapshot_of({leak("a", 1, 4000)}), {});
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].area == "slab");
  CHECK(findings[0].severity == Severity::kSuspect);
}

TEST_CASE("kernel verdicts: nobody is a suspect where the cache's frees are not seen") {
  auto snapshot = snapshot_of({leak("a", 1, 4000), leak("b", 2, 3000)});
  Reconciled row;
  row.cache = "a";
  row.gained_live_count = 4000;
  row.gained_kernel_count = 1500;
  snapshot.reconcile = {row};
  const auto findings = analyse_kernel(snapshot, {});
  REQUIRE(findings.size() == 2);
  CHECK(findings[0].site->place.cache == "b");
  CHECK(findings[0].severity == Severity::kSuspect);
  CHECK(findings[1].severity == Severity::kInfo);
  CHECK(findings[1].evidence.find("2,500 less") != std::string::npos);
  snapshot.reconcile[0].gained_kernel_count = 3900;
  CHECK(analyse_kernel(snapshot, {})[1].severity == Severity::kSuspect);
}
