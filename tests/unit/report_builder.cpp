// SPDX-License-Identifier: Apache-2.0
//
// Snapshots become reports: rows, sums, stacks, names of verdicts, reasons of emptiness.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "report/builder.h"
#include "report_samples.h"

using namespace tidemark;
using namespace tidemark::report;
using model::Generation;
using model::StackId;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;

model::CallSite site_of(uint32_t owner, uint64_t stack, uint64_t total, uint64_t freed) {
  model::CallSite site;
  site.owner = {owner};
  site.allocator = "glibc";
  site.stack = {stack};
  site.total_bytes = total * 100;
  site.total_count = total;
  site.freed_bytes = freed * 100;
  site.freed_count = freed;
  site.oldest_birth_ns = 2 * kSecond;
  site.youngest_birth_ns = 9 * kSecond;
  return site;
}

model::Target target_of(int32_t pid, uint32_t generation) {
  model::Target target;
  target.pid = {pid};
  target.generation = {generation};
  target.comm = "server";
  target.rss_anon_start_bytes = 1000;
  target.rss_anon_end_bytes = 11'000;
  target.allocators = {{.name = "glibc", .module = "/lib/libc.so.6", .probes = 10, .hits = 100}};
  return target;
}

model::Snapshot snapshot_of(std::vector<model::CallSite> sites) {
  model::Snapshot snapshot;
  snapshot.started_ns = kSecond;
  snapshot.taken_ns = 11 * kSecond;
  snapshot.started_unix_ns = 77;
  snapshot.targets = {target_of(4711, 1)};
  snapshot.call_sites = std::move(sites);
  return snapshot;
}

model::Frame frame_of(std::string module, std::optional<std::string> function) {
  model::Frame frame;
  frame.module = std::move(module);
  frame.function = std::move(function);
  frame.offset = 0x1234;
  return frame;
}

std::vector<model::Frame> two_frames(Generation, StackId) {
  return {frame_of("/usr/lib/libstdc++.so.6", "operator new(unsigned long)"),
          frame_of("/usr/bin/server", "handle")};
}

TraceReport build(const model::Snapshot& snapshot, const StackNames& names = two_frames,
                  const model::Snapshot* previous = nullptr,
                  const std::vector<model::Finding>& findings = {}) {
  return build_trace_report(snapshot, findings, names, previous,
                            {.tool_version = "1", .kernel_release = "6", .mode = {}});
}

CallSiteRow only_row(model::StackEnd end, std::vector<model::Frame> frames) {
  model::Snapshot snapshot = snapshot_of({site_of(1, 5, 10, 0)});
  snapshot.stacks = {{.id = {5}, .end = end, .frames = {}}};
  return build(snapshot, [&](Generation, StackId) { return frames; }).call_sites.at(0);
}

}  // namespace

TEST_CASE("builder: rows are sorted by live bytes, totals are their sums") {
  const auto report =
      build(snapshot_of({site_of(1, 1, 10, 10), site_of(1, 2, 50, 20), site_of(1, 3, 90, 10)}));
  REQUIRE(report.call_sites.size() == 3);
  CHECK(report.call_sites[0].live_bytes == 8000);
  CHECK(report.call_sites[1].live_bytes == 3000);
  CHECK(report.call_sites[2].live_bytes == 0);
  CHECK_FALSE(report.call_sites[2].oldest_age_ns.has_value());
  CHECK(report.call_sites[0].oldest_age_ns == 9 * kSecond);
  CHECK(report.call_sites[0].youngest_age_ns == 2 * kSecond);
  CHECK(report.totals.live_bytes == 11'000);
  CHECK(report.totals.total_count == 150);
  CHECK(report.totals.freed_count == 40);
  CHECK(report.totals.live_count == report.totals.total_count - report.totals.freed_count);
  CHECK(report.duration_ns == 10 * kSecond);
  CHECK_FALSE(report.empty_because.has_value());
}

TEST_CASE("builder: where windows know what certainly stays, that goes first") {
  std::vector<model::CallSite> sites = {site_of(1, 1, 900, 0), site_of(1, 2, 20, 0),
                                        site_of(1, 3, 30, 0), site_of(1, 4, 950, 0)};
  sites[0].windowed.emplace().estimate.leak_bytes_per_s = {.value = 9000, .low = 0, .high = 1e6};
  sites[1].windowed.emplace().estimate.leak_bytes_per_s = {.value = 500, .low = 400, .high = 600};
  sites[2].windowed.emplace().estimate.leak_bytes_per_s = {.value = 500, .low = 300, .high = 900};
  std::vector<uint64_t> totals;
  for (const CallSiteRow& row : build(snapshot_of(sites)).call_sites)
    totals.push_back(row.total_count);
  CHECK(totals == std::vector<uint64_t>{20, 30, 950, 900});
}

TEST_CASE("builder: ties go by total bytes, then always the same way") {
  std::vector<model::CallSite> sites = {site_of(1, 9, 10, 0), site_of(1, 4, 20, 10),
                                        site_of(2, 4, 10, 0)};
  const auto order = [](const TraceReport& report) {
    std::vector<std::pair<std::optional<int32_t>, uint64_t>> seen;
    for (const CallSiteRow& row : report.call_sites) seen.emplace_back(row.pid, row.total_bytes);
    return seen;
  };
  const auto first = order(build(snapshot_of(sites)));
  CHECK(first.front().second == 2000);
  std::ranges::reverse(sites);
  CHECK(order(build(snapshot_of(sites))) == first);
}

TEST_CASE("builder: the same stack in two processes is two rows, the same key twice is one") {
  model::Snapshot snapshot =
      snapshot_of({site_of(1, 5, 10, 0), site_of(2, 5, 10, 0), site_of(1, 5, 7, 7)});
  snapshot.targets.push_back(target_of(4712, 2));
  const auto report = build(snapshot);
  REQUIRE(report.call_sites.size() == 2);
  CHECK(report.call_sites[0].pid == 4711);
  CHECK(report.call_sites[0].total_count == 17);
  CHECK(report.call_sites[1].pid == 4712);
}

TEST_CASE("builder: two generations of one pid keep rows of their own") {
  model::Snapshot snapshot = snapshot_of({site_of(1, 5, 10, 0), site_of(2, 5, 20, 0)});
  snapshot.targets.push_back(target_of(4711, 2));
  snapshot.targets[1].comm = "python3";
  const auto report = build(snapshot);
  REQUIRE(report.call_sites.size() == 2);
  CHECK(report.call_sites[0].comm == "python3");
  CHECK(report.call_sites[1].comm == "server");
  CHECK(report.call_sites[0].pid == report.call_sites[1].pid);
}

TEST_CASE("builder: which stacks are whole") {
  using enum model::StackEnd;
  const auto main_to = [](const char* bottom) {
    return std::vector{frame_of("/bin/a", "handle"), frame_of("/lib/libc.so.6", bottom)};
  };
  CHECK(only_row(kBottom, main_to("anything")).stack == StackState::kWhole);
  for (const char* bottom :
       {"_start", "__libc_start_main", "__libc_start_main_impl", "__libc_start_main@@GLIBC_2.34",
        "__libc_start_call_main", "start_thread", "clone", "clone3", "__clone"}) {
    CHECK(only_row(kBroken, main_to(bottom)).stack == StackState::kWhole);
  }
  CHECK(only_row(kBroken, main_to("qsort")).stack == StackState::kCut);
  CHECK(only_row(kDepthLimit, main_to("_start")).stack == StackState::kCut);
  CHECK(only_row(kDepthLimit, main_to("f")).stack_note == "stack cut: deeper than what is kept");
  CHECK(only_row(kBroken, {}).stack == StackState::kLost);
}

TEST_CASE("builder: stacks that are cut are counted, by the reason") {
  model::Snapshot snapshot = snapshot_of(
      {site_of(1, 5, 10, 0), site_of(1, 6, 10, 0), site_of(1, 7, 10, 0), site_of(1, 8, 10, 0)});
  snapshot.stacks = {{.id = {5}, .end = model::StackEnd::kDepthLimit, .frames = {}},
                     {.id = {6}, .end = model::StackEnd::kBroken, .frames = {}},
                     {.id = {7}, .end = model::StackEnd::kBroken, .frames = {}},
                     {.id = {8}, .end = model::StackEnd::kBottom, .frames = {}}};
  const auto report = build(
      snapshot, [](Generation, StackId) { return std::vector{frame_of("/bin/a", "handle")}; });
  const auto count_of = [&](std::string_view name) {
    const auto found = std::ranges::find(report.counters, name, &model::Counter::name);
    REQUIRE(found != report.counters.end());
    CHECK(found->kind == model::CounterKind::kNote);
    return found->count;
  };
  CHECK(count_of("deep_stacks") == 1);
  CHECK(count_of("broken_stacks") == 2);
}

TEST_CASE("builder: nonsense behind the last good frame is cut off, the first frame never") {
  const auto cut =
      only_row(model::StackEnd::kBottom,
               {frame_of("/bin/a", "handle"), frame_of("", {}), frame_of("/bin/a", "_start")});
  CHECK(cut.frames.size() == 1);
  CHECK(cut.stack == StackState::kCut);
  CHECK(cut.stack_note == "stack cut: the way to the next caller was not known");
  const auto first =
      only_row(model::StackEnd::kBottom, {frame_of("", {}), frame_of("/bin/a", "f")});
  CHECK(first.frames.size() == 2);
  CHECK(first.stack == StackState::kWhole);
}

TEST_CASE("builder: stack id 0 is a lost stack, and nobody is asked for its names") {
  const auto report = build(snapshot_of({site_of(1, 0, 10, 0)}),
                            [](Generation, StackId) -> std::vector<model::Frame> {
                              FAIL("asked");
                              return {};
                            });
  CHECK(report.call_sites[0].stack == StackState::kLost);
  CHECK(report.call_sites[0].frames.empty());
}

TEST_CASE("builder: of mappings only what is in memory explains growth") {
  model::CallSite stacks = site_of(1, 9, 40, 0);
  stacks.kind = model::Kind::kMapping;
  stacks.allocator = "mmap";
  stacks.purpose = model::Purpose::kThreadStack;
  stacks.resident = model::Resident{.bytes = 700, .anonymous_bytes = 600};
  auto snapshot = snapshot_of({site_of(1, 5, 80, 0), stacks});
  const TraceReport report = build(snapshot);
  CHECK(report.totals.live_bytes == 12'000);
  CHECK(report.mappings.live_bytes == 4000);
  CHECK(report.mappings.live_count == 40);
  CHECK(report.mappings.resident_bytes == 700u);
  CHECK(report.explains.tracked_growth_bytes == 8600);
  CHECK(report.explains.ratio.value() == doctest::Approx(0.86));
  CHECK(report.call_sites[1].purpose == model::Purpose::kThreadStack);
  // What is not known makes no ratio.
  snapshot.call_sites[1].resident.reset();
  CHECK_FALSE(build(snapshot).mappings.resident_bytes.has_value());
  CHECK_FALSE(build(snapshot).explains.ratio.has_value());
}

TEST_CASE("builder: mappings have no more room than their bytes") {
  model::CallSite block = site_of(1, 5, 80, 0);
  block.live_usable_bytes = 9000;
  model::CallSite mapping = site_of(1, 9, 40, 0);
  mapping.kind = model::Kind::kMapping;
  auto snapshot = snapshot_of({block, mapping});
  CHECK(build(snapshot).totals.live_usable_bytes == 13'000u);
  CHECK_FALSE(build(snapshot).call_sites[1].live_usable_bytes.has_value());
  snapshot.call_sites[0].live_usable_bytes.reset();
  CHECK_FALSE(build(snapshot).totals.live_usable_bytes.has_value());
}

TEST_CASE("builder: the heap's own mappings are in no sum") {
  auto snapshot = snapshot_of({site_of(1, 5, 80, 0)});
  for (const auto purpose :
       {model::Purpose::kHeapBacking, model::Purpose::kLoader, model::Purpose::kHeapBacking}) {
    model::CallSite apart = site_of(1, 0, 4, 1);
    apart.kind = model::Kind::kMapping;
    apart.purpose = purpose;
    apart.resident = model::Resident{.bytes = 50, .anonymous_bytes = 50};
    snapshot.apart.push_back(apart);
  }
  const TraceReport report = build(snapshot);
  CHECK(report.totals.live_bytes == 8000);
  CHECK(report.mappings.live_bytes == 0);
  REQUIRE(report.apart.size() == 2);
  CHECK(report.apart[0].purpose == model::Purpose::kHeapBacking);
  CHECK(report.apart[0].live_bytes == 600);
  CHECK(report.apart[0].live_count == 6);
  CHECK(report.apart[0].total_count == 8);
  CHECK(report.apart[0].resident_bytes == 100u);
  CHECK(report.apart[1].purpose == model::Purpose::kLoader);
}

TEST_CASE("builder: explains tracked growth against the growth of the resident set") {
  model::Snapshot snapshot = snapshot_of({site_of(1, 5, 80, 0)});
  CHECK(build(snapshot).explains.rss_anon_growth_bytes == 10'000);
  CHECK(build(snapshot).explains.ratio.value() == doctest::Approx(0.8));
  snapshot.targets.push_back(target_of(4712, 2));
  CHECK(build(snapshot).explains.ratio.value() == doctest::Approx(0.4));
  snapshot.targets[0].rss_anon_end_bytes = 0;
  snapshot.targets[1].rss_anon_end_bytes = 500;
  CHECK(build(snapshot).explains.rss_anon_growth_bytes == -1500);
  CHECK_FALSE(build(snapshot).explains.ratio.has_value());
  snapshot.targets[1].rss_anon_end_bytes.reset();
  CHECK_FALSE(build(snapshot).explains.rss_anon_growth_bytes.has_value());
  CHECK(build(snapshot).explains.tracked_growth_bytes == 8000);
}

TEST_CASE("builder: change since the report before") {
  const auto before = snapshot_of({site_of(1, 5, 10, 0), site_of(1, 6, 10, 0)});
  const auto now = snapshot_of({site_of(1, 5, 30, 0), site_of(1, 6, 10, 4), site_of(1, 7, 1, 0)});
  const auto report = build(now, two_frames, &before);
  CHECK(report.call_sites[0].live_bytes_change == 2000);
  CHECK(report.call_sites[1].live_bytes_change == -400);
  CHECK(report.call_sites[2].live_bytes_change == 100);
  CHECK(report.totals.live_bytes_change == 1700);
  CHECK_FALSE(build(now).call_sites[0].live_bytes_change.has_value());
}

TEST_CASE("builder: a verdict gets rank and name of its call site, not of operator new") {
  const auto snapshot = snapshot_of({site_of(1, 5, 10, 0), site_of(1, 6, 90, 0)});
  model::Finding finding{.severity = model::Severity::kSuspect,
                         .area = "heap",
                         .what = "keeps it",
                         .evidence = "",
                         .next = ""};
  finding.site = model::key_of(snapshot.call_sites[0]);
  const auto report = build(snapshot, two_frames, nullptr, {finding});
  CHECK(report.verdicts[0].what == "#2 handle (server) keeps it");
  CHECK(report.call_sites[1].suspect);
  CHECK_FALSE(report.call_sites[0].suspect);
  CHECK(report.next_commands.at(0) == "addr2line -Cfe /usr/bin/server 0x1234");
}

TEST_CASE("builder: sampled figures have their error, what cannot be known is not there") {
  model::Snapshot snapshot = snapshot_of({site_of(1, 5, 30, 0), site_of(1, 6, 10, 10)});
  // 30 blocks of 100 bytes; ten samples of 300 bytes.
  snapshot.call_sites[0].live_variance = 10 * 300.0 * 300.0;
  report::BuildInfo info{.tool_version = "t", .kernel_release = "k", .mode = {}};
  info.mode.exact = false;
  info.mode.sampling_interval_bytes = 1000;
  const auto report = report::build_trace_report(snapshot, {}, two_frames, nullptr, info);
  // 1.96 * sqrt(900000 + (1.96 * 300 / 2)^2)
  CHECK(report.call_sites[0].live_bytes_error == 1947);
  CHECK(report.call_sites[1].live_bytes_error == 3000);
  CHECK(report.totals.live_bytes_error == 1947);
  CHECK_FALSE(report.totals.unmatched_frees.has_value());
  snapshot.call_sites.clear();
  const auto empty = report::build_trace_report(snapshot, {}, two_frames, nullptr, info);
  CHECK(empty.totals.live_bytes_error == 3000);
  CHECK(empty.empty_because->starts_with("no sample in 10.0 s"));
}

TEST_CASE("builder: an empty report says why") {
  model::Snapshot snapshot = snapshot_of({});
  CHECK(build(snapshot).empty_because->starts_with(
      "no allocation in 10.0 s, though the probes were hit 100 times"));
  snapshot.counters = {{.name = "unmatched_frees",
                        .kind = model::CounterKind::kNote,
                        .count = 3,
                        .bytes = {},
                        .meaning = ""}};
  CHECK(build(snapshot).empty_because ==
        "no allocation in 10.0 s, only 3 frees of blocks older than the trace");
  CHECK(build(snapshot).totals.unmatched_frees == 3);
  snapshot.targets[0].allocators[0].hits = 0;
  CHECK(build(snapshot).empty_because->find("none of the 10 probes was hit") != std::string::npos);
  CHECK(build(snapshot).next_commands.at(0) == "tidemark doctor -p 4711");
  snapshot.targets[0].allocators.clear();
  CHECK(build(snapshot).empty_because->starts_with("no probe is on"));
  snapshot.call_sites = {site_of(1, 5, 10, 10)};
  CHECK(build(snapshot).empty_because ==
        "all 10 blocks allocated in 10.0 s were freed again: nothing is kept");
}

TEST_CASE("builder: commands name living targets only, and quote paths") {
  model::Snapshot snapshot = snapshot_of({site_of(1, 5, 10, 0)});
  snapshot.targets.push_back(target_of(4712, 2));
  snapshot.targets[0].alive = false;
  const auto report = build(
      snapshot, [](Generation, StackId) { return std::vector{frame_of("/opt/my app/it's", "f")}; });
  CHECK(report.next_commands ==
        std::vector<std::string>{"addr2line -Cfe '/opt/my app/it'\\''s' 0x1234",
                                 "tidemark trace -p 4712 --for 5m --every 30s",
                                 "tidemark trace -p 4712 --for 1m --json trace.json"});
  snapshot.targets[1].alive = false;
  CHECK(build(snapshot).next_commands.size() == 1);
}
