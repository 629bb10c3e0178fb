// SPDX-License-Identifier: Apache-2.0
//
// Verdicts out of literal snapshots: what is suspected, and what must not be.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include "model/analysis.h"

using namespace tidemark::model;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kStart = 1000 * kSecond;
constexpr uint64_t kBlockBytes = 256;

// A call site of 256-byte blocks, by its survivors of each quarter and by what it allocated in all.
CallSite site_of(uint64_t stack, std::array<uint64_t, 4> survivors, uint64_t total_count) {
  CallSite site;
  site.owner = Generation{1};
  site.allocator = "glibc";
  site.stack = StackId{stack};
  site.total_count = total_count;
  site.total_bytes = total_count * kBlockBytes;
  uint64_t live = 0;
  for (std::size_t at = 0; at < survivors.size(); ++at) {
    site.live_by_quarter[at] = survivors[at];
    live += survivors[at];
  }
  site.freed_count = total_count - live;
  site.freed_bytes = site.freed_count * kBlockBytes;
  return site;
}

Snapshot snapshot_of(std::vector<CallSite> sites, uint64_t duration_ns = 10 * kSecond) {
  Snapshot snapshot;
  snapshot.started_ns = kStart;
  snapshot.taken_ns = kStart + duration_ns;
  Target target;
  target.pid = Pid{4711};
  target.generation = Generation{1};
  target.comm = "server";
  target.allocators = {{.name = "glibc", .module = "/lib/libc.so.6", .probes = 10, .hits = 5000}};
  snapshot.targets = {target};
  snapshot.call_sites = std::move(sites);
  return snapshot;
}

std::vector<uint64_t> stacks_with(Severity severity, const Snapshot& snapshot,
                                  const Policy& policy = {}) {
  std::vector<uint64_t> stacks;
  for (const Finding& finding : analyse(snapshot, policy)) {
    if (finding.severity == severity && finding.site) stacks.push_back(finding.site->stack.value);
  }
  return stacks;
}

const Finding* find_area(const std::vector<Finding>& findings, const std::string& area) {
  const auto found = std::ranges::find(findings, area, &Finding::area);
  return found == findings.end() ? nullptr : &*found;
}

using Stacks = std::vector<uint64_t>;

}  // namespace

TEST_CASE("analysis: a steady leak is a suspect, with its numbers") {
  const auto findings = analyse(snapshot_of({site_of(7, {250, 251, 249, 250}, 1020)}), {});
  REQUIRE(findings.size() == 1);
  const Finding& finding = findings.front();
  CHECK(finding.severity == Severity::kSuspect);
  CHECK(finding.area == "heap");
  CHECK(finding.site->stack == StackId{7});
  CHECK(finding.what == "keeps what it allocates: 250.0 KiB in 1,000 blocks live");
  CHECK(
      finding.evidence ==
      "live blocks by the quarter of the trace they were born in: 250, 251, 249, 250; 20 of 1,020 "
      "allocations freed; 100.0 % of all live bytes");
  CHECK(finding.next ==
        "a longer trace tells a leak from a cache that fills up: tidemark trace -p 4711 --for 1m");
  for (const std::string& text : {finding.what, finding.evidence, finding.next}) {
    CHECK(text.find("leaked") == std::string::npos);
  }
}

TEST_CASE("analysis: a slow leak among churn, one of fifty, is a suspect") {
  CHECK(stacks_with(Severity::kSuspect, snapshot_of({site_of(7, {20, 20, 20, 22}, 4000)})) ==
        Stacks{7});
  // By chance the quarters differ a little.
  CHECK(stacks_with(Severity::kSuspect, snapshot_of({site_of(7, {17, 24, 22, 30}, 4000)})) ==
        Stacks{7});
}

TEST_CASE("analysis: a leak that grows with the load is a suspect") {
  CHECK(stacks_with(Severity::kSuspect, snapshot_of({site_of(7, {40, 80, 120, 160}, 400)})) ==
        Stacks{7});
}

TEST_CASE("analysis: a cache that warmed up is worth knowing, no suspect") {
  const auto snapshot = snapshot_of({site_of(7, {4000, 30, 0, 0}, 4030)});
  CHECK(stacks_with(Severity::kSuspect, snapshot).empty());
  CHECK(stacks_with(Severity::kInfo, snapshot) == Stacks{7});
  // A burst in the middle is one as well; a small one is not worth a line.
  CHECK(stacks_with(Severity::kInfo, snapshot_of({site_of(7, {0, 0, 4000, 1}, 4001)})) ==
        Stacks{7});
  CHECK(stacks_with(Severity::kInfo, snapshot_of({site_of(7, {20, 0, 0, 0}, 20)})).empty());
}

TEST_CASE("analysis: queues and churn hold young blocks only") {
  CHECK(analyse(snapshot_of({site_of(7, {0, 0, 0, 5000}, 900'000)}), {}).empty());
  CHECK(analyse(snapshot_of({site_of(7, {3, 2, 4, 5000}, 900'000)}), {}).empty());
  // Long-lived sessions among short ones: the old are few of the live ones.
  CHECK(analyse(snapshot_of({site_of(7, {20, 22, 25, 10'000}, 900'000)}), {}).empty());
}

TEST_CASE("analysis: in a bounded pool the old are fewer than the young") {
  // Each replacement throws out any block: survivors decay with age.
  CHECK(analyse(snapshot_of({site_of(7, {61, 105, 180, 310}, 2000)}), {}).empty());
  CHECK(analyse(snapshot_of({site_of(7, {60, 78, 100, 128}, 580)}), {}).empty());
  // First in, first out.
  CHECK(analyse(snapshot_of({site_of(7, {0, 0, 400, 600}, 2400)}), {}).empty());
}

TEST_CASE("analysis: what stopped growing is no suspect") {
  CHECK(analyse(snapshot_of({site_of(7, {120, 110, 2, 0}, 232)}), {}).empty());
}

TEST_CASE("analysis: too short a trace, too few blocks or bytes give no suspect") {
  CHECK(analyse(snapshot_of({site_of(7, {250, 250, 250, 250}, 1000)}, kSecond), {}).empty());
  CHECK(analyse(snapshot_of({site_of(7, {2, 2, 2, 2}, 8)}), {}).empty());
  Snapshot tiny = snapshot_of({site_of(7, {3, 3, 3, 3}, 12)});
  tiny.call_sites[0].total_bytes = 12;
  tiny.call_sites[0].freed_bytes = 0;
  CHECK(analyse(tiny, {}).empty());
  CHECK(analyse(Snapshot{}, {}).empty());
}

TEST_CASE("analysis: a small share of what is live is no suspect") {
  const auto big = site_of(1, {400'000, 0, 0, 0}, 400'000);
  const auto small = site_of(7, {20, 20, 20, 20}, 80);
  CHECK(stacks_with(Severity::kSuspect, snapshot_of({big, small})).empty());
  CHECK(stacks_with(Severity::kSuspect, snapshot_of({big, small}), {.min_share = 0.0}) ==
        Stacks{7});
}

TEST_CASE("analysis: suspects come by live bytes") {
  CHECK(stacks_with(Severity::kSuspect, snapshot_of({site_of(1, {20, 20, 20, 20}, 80),
                                                     site_of(2, {90, 90, 90, 90}, 360)})) ==
        Stacks{2, 1});
}

TEST_CASE("analysis: a target that is gone cannot be traced again") {
  Snapshot snapshot = snapshot_of({site_of(7, {250, 250, 250, 250}, 1000)});
  snapshot.targets[0].alive = false;
  const auto findings = analyse(snapshot, {});
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].next.find("tidemark") == std::string::npos);
}

TEST_CASE("analysis: losses are said with how far they may reach") {
  Snapshot snapshot = snapshot_of({});
  snapshot.call_sites = {site_of(7, {0, 0, 0, 1}, 1)};
  snapshot.counters = {{.name = "blocks_full",
                        .kind = CounterKind::kLoss,
                        .count = 1200,
                        .bytes = 4096,
                        .meaning = "no room"},
                       {.name = "stacks_full",
                        .kind = CounterKind::kLoss,
                        .count = 0,
                        .bytes = {},
                        .meaning = "no room"},
                       {.name = "unmatched_frees",
                        .kind = CounterKind::kNote,
                        .count = 9,
                        .bytes = {},
                        .meaning = "older"}};
  const auto findings = analyse(snapshot, {});
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].area == "losses");
  CHECK(findings[0].severity == Severity::kInfo);
  CHECK(findings[0].what == "blocks_full: 1,200 lost");
  CHECK(
      findings[0].evidence ==
      "no room; live figures may be off by up to 1,200 blocks (4.0 KiB), in all or per call site");
}

TEST_CASE("analysis: mappings weigh what is in memory of them") {
  CallSite leak = site_of(7, {250, 251, 249, 250}, 1020);
  CallSite pool = site_of(8, {0, 96, 0, 0}, 96);
  pool.kind = Kind::kMapping;
  pool.allocator = "mmap";
  pool.total_bytes = 96 * (uint64_t{32} << 20);
  pool.freed_bytes = 0;
  // As address space the pool would hide the leak.
  CHECK(stacks_with(Severity::kSuspect, snapshot_of({leak, pool})) == Stacks{});
  pool.resident = Resident{.bytes = 96 * 8192, .anonymous_bytes = 96 * 8192};
  const auto findings = analyse(snapshot_of({leak, pool}), {});
  REQUIRE(findings.size() == 2);
  CHECK(findings[0].site->stack == StackId{7});
  CHECK(findings[0].severity == Severity::kSuspect);
  CHECK(findings[1].what ==
        "mapped 3.0 GiB of address space in 96 mappings in one burst and keeps them: a cache or a "
        "warm-up?");
}

TEST_CASE("analysis: a leak of mappings is one of mappings") {
  CallSite site = site_of(7, {20, 20, 20, 20}, 80);
  site.kind = Kind::kMapping;
  const auto findings = analyse(snapshot_of({site}), {});
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].area == "mapping");
  CHECK(findings[0].what == "keeps what it maps: 20.0 KiB of address space in 80 mappings live");
}

TEST_CASE("analysis: a silent target is said, with the growth that nobody explains") {
  Snapshot snapshot = snapshot_of({});
  snapshot.targets[0].allocators[0].hits = 0;
  snapshot.targets[0].rss_anon_start_bytes = 0;
  snapshot.targets[0].rss_anon_end_bytes = 3 << 20;
  const auto findings = analyse(snapshot, {});
  const Finding* finding = find_area(findings, "coverage");
  REQUIRE(finding != nullptr);
  CHECK(finding->what == "no allocator call seen in server (pid 4711)");
  CHECK(finding->evidence ==
        "10 probes on 1 allocator, 0 hits in 10.0 s, while RssAnon grew by 3.0 MiB: it allocates "
        "by other ways");
  CHECK(finding->next == "tidemark doctor -p 4711");
}

TEST_CASE("analysis: silent processes that are alike are told once") {
  Snapshot snapshot = snapshot_of({});
  snapshot.targets[0].allocators[0].hits = 0;
  for (int32_t n = 1; n < 7; ++n) {
    snapshot.targets.push_back(snapshot.targets[0]);
    snapshot.targets.back().generation = Generation{10u + static_cast<uint32_t>(n)};
    snapshot.targets.back().pid = Pid{4711 + n};
  }
  snapshot.targets.back().comm = "other";
  const auto findings = analyse(snapshot, {});
  REQUIRE(findings.size() == 2);
  CHECK(findings[0].what == "no allocator call seen in other (pid 4717)");
  CHECK(findings[1].what ==
        "no allocator call seen in 6 processes of server (pid 4711, 4712, 4713, 4714, 4715 and 1 "
        "more)");
  CHECK(findings[1].next == "tidemark doctor -p 4711");
}

// A pool on top of mmap.
TEST_CASE("analysis: a target that only maps is silent as well") {
  CallSite mapping = site_of(7, {1, 0, 0, 0}, 1);
  mapping.kind = Kind::kMapping;
  Snapshot snapshot = snapshot_of({mapping});
  snapshot.targets[0].allocators[0].hits = 0;
  CHECK(find_area(analyse(snapshot, {}), "coverage") != nullptr);
  snapshot.call_sites[0].kind = Kind::kHeap;
  CHECK(find_area(analyse(snapshot, {}), "coverage") == nullptr);
}

TEST_CASE("analysis: two generations of one pid mean exec") {
  Snapshot snapshot = snapshot_of({});
  snapshot.targets.push_back(snapshot.targets[0]);
  snapshot.targets[1].generation = Generation{2};
  snapshot.targets[1].comm = "python3";
  const auto findings = analyse(snapshot, {});
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].what == "pid 4711 called exec during the trace");
  CHECK(findings[0].evidence == "server (generation 1), then python3 (generation 2)");
}

TEST_CASE("analysis: in windows a suspect keeps something with more than 95 %") {
  const auto windowed = [](uint64_t stack, double value, double low) {
    CallSite site = site_of(stack, {1000, 1000, 1000, 1000}, 8000);
    WindowFigures& figures = site.windowed.emplace();
    figures.estimate.live_bytes = {.value = 1e6, .low = 1e6, .high = 2e6};
    figures.estimate.leak_bytes_per_s = {.value = value, .low = low, .high = 2 * value};
    return site;
  };
  Snapshot snapshot =
      snapshot_of({windowed(1, 1000, 500), windowed(2, 1000, 250), windowed(3, 1000, 200),
                   windowed(4, 1000, 1), windowed(5, 1000, 0), windowed(6, 0, 0)});
  snapshot.windows.emplace();
  CHECK(stacks_with(Severity::kSuspect, snapshot) == std::vector<uint64_t>{1, 2});
}

TEST_CASE("analysis: shapes") {
  const Policy policy;
  CHECK(shape_of(site_of(1, {0, 0, 0, 0}, 50), policy) == SiteShape::kTooLittle);
  CHECK(shape_of(site_of(1, {0, 0, 0, 50}, 50), policy) == SiteShape::kYoung);
  CHECK(shape_of(site_of(1, {50, 0, 0, 0}, 50), policy) == SiteShape::kBurst);
  CHECK(shape_of(site_of(1, {50, 50, 50, 50}, 200), policy) == SiteShape::kGrowing);
  CHECK(shape_of(site_of(1, {60, 78, 100, 128}, 4000), policy) == SiteShape::kDeclining);
  CHECK(shape_of(site_of(1, {50, 0, 50, 50}, 150), policy) == SiteShape::kUneven);
}
