// SPDX-License-Identifier: Apache-2.0
//
// What is said of the growth of all processes, in text and in JSON, against golden files.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "report/growth_builder.h"
#include "report/reporter.h"
#include "report_samples.h"

using namespace tidemark;
using namespace tidemark::report;
using namespace tidemark::report::test;

namespace {

constexpr uint64_t kMib = 1 << 20;
constexpr uint64_t kMinute = 60'000'000'000;

model::GrowthProcess process(int pid, const char* comm, uint64_t first_mib, uint64_t last_mib) {
  model::GrowthProcess process;
  process.pid = model::Pid{pid};
  process.owner = model::Generation{static_cast<uint32_t>(pid)};
  process.comm = comm;
  process.watched_ns = kMinute;
  process.first = {.anonymous_bytes = first_mib * kMib, .file_bytes = 4 * kMib};
  process.last = {.anonymous_bytes = last_mib * kMib, .file_bytes = 5 * kMib};
  process.touched_bytes = 30 * kMib;
  process.faults = model::PageFaults{7680, 2};
  process.heap_growth_bytes = 16 << 20;
  process.private_growth_bytes = 20 << 20;
  return process;
}

model::GrowthSite site(uint32_t owner, uint64_t stack, double touched, std::optional<double> kept) {
  model::GrowthSite site;
  site.owner = model::Generation{owner};
  site.stack = model::StackId{stack};
  site.samples = 100;
  site.touched_bytes = touched;
  site.touched_variance = touched * touched / 100;
  site.kept_bytes = kept;
  site.kept_variance = kept.value_or(0) * kept.value_or(0) / 64;
  site.interval_bytes = 32 << 10;
  return site;
}

model::GrowthSnapshot machine() {
  model::GrowthSnapshot snapshot;
  snapshot.started_ns = 5;
  snapshot.taken_ns = 5 + kMinute;
  snapshot.started_unix_ns = 1'700'000'000'000'000'000;
  snapshot.processes_watched = 300;
  snapshot.processes = {process(4711, "leaky", 10, 30), process(12, "cache\x1b[31m", 50, 60),
                        process(13, "shrinks", 50, 49)};
  snapshot.processes[0].trend = model::GrowthTrend{.bytes_per_s = 20.0 * kMib / 60,
                                                   .low = 19.0 * kMib / 60,
                                                   .high = 21.0 * kMib / 60,
                                                   .span_ns = kMinute,
                                                   .steady = true};
  snapshot.processes[1].started_meanwhile = true;
  snapshot.processes[1].faults.reset();
  snapshot.processes[1].heap_growth_bytes.reset();
  snapshot.ended = {{"cc1", 40, 900 * kMib}, {"sh", 200, 30 * kMib}, {"ld", 1, kMib}, {"as", 2, 1}};
  snapshot.owners = {{model::Generation{4711}, model::Pid{4711}, "leaky", true},
                     {model::Generation{12}, model::Pid{12}, "cache", false}};
  snapshot.call_sites = {site(4711, 1, 25.0 * kMib, 19.0 * kMib),
                         site(12, 2, 10.0 * kMib, std::nullopt), site(4711, 0, kMib, 0)};
  snapshot.call_sites[1].kind = model::GrowthKind::kShared;
  snapshot.call_sites[1].in_syscall = true;
  snapshot.call_sites.push_back(site(4711, 1, 30.0 * kMib, std::nullopt));
  snapshot.call_sites.back().kind = model::GrowthKind::kBrk;
  snapshot.call_sites.push_back(site(12, 2, 2.0 * kMib, std::nullopt));
  snapshot.call_sites.back().kind = model::GrowthKind::kMmap;
  snapshot.stacks = {
      {model::StackId{1}, model::StackEnd::kBottom, false, {model::Address{0x1001}}},
      {model::StackId{2}, model::StackEnd::kBroken, false, {model::Address{0x2002}}}};
  snapshot.coverage = {{"rss_stat", model::HookState::kOn, std::nullopt},
                       {"page_fault_user", model::HookState::kMissing, "it is not there"}};
  snapshot.counters = {
      {"growth_samples_lost", model::CounterKind::kLoss, 3, 4096, "samples found no room"},
      {"growth_unwatched", model::CounterKind::kNote, 1, 4096, "ended too soon"}};
  return snapshot;
}

std::vector<model::Frame> name(model::Generation, model::StackId id) {
  model::Frame leaf;
  leaf.address = {id.value};
  leaf.module = "/usr/lib/libc.so.6";
  leaf.function = "memset";
  leaf.function_offset = 16;
  model::Frame caller;
  caller.address = {id.value + 1};
  caller.module = "/usr/bin/leaky";
  caller.build_id = "abcd";
  caller.function = id.value == 1 ? "remember_session" : "map_cache";
  caller.function_offset = 3;
  caller.offset = 0x1234;
  return {leaf, caller};
}

TraceReport built() {
  return build_growth_report(machine(), name, {"1.2.3", "6.18.0", {}});
}

}  // namespace

TEST_CASE("growth: golden files") {
  check_golden("trace_growth.txt", write_as("text", built()));
  check_golden("trace_growth.json", write_as("json", built()));
}

TEST_CASE("growth: who grows steadily is a suspect, with where it does") {
  const auto findings = built().verdicts;
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].severity == model::Severity::kSuspect);
  CHECK(findings[0].area == "growth");
  CHECK(findings[0].what == "pid 4711 (leaky) grows steadily: 20.0 MiB a minute");
  CHECK(findings[0].evidence.find("remember_session (leaky)") != std::string::npos);
  CHECK(findings[0].evidence.find("19.0 MiB to 21.0 MiB, 95 %") != std::string::npos);
  CHECK(findings[0].next.find("tidemark trace -p 4711") != std::string::npos);
}

TEST_CASE("growth: errors of call sites, unknown and lost") {
  const TraceReport report = built();
  const auto& sites = report.growth->call_sites;
  REQUIRE(sites.size() == 3);
  CHECK(sites[0].kept_bytes == 19 * kMib);
  CHECK(*sites[0].kept_bytes_error > 19 * kMib * 1.9 / 8);
  CHECK(*sites[0].kept_bytes_error < 19 * kMib * 2.1 / 8);
  CHECK(sites[0].stack == StackState::kWhole);
  // Of the same process: it grows steadily, the other one does not.
  CHECK(sites[1].stack == StackState::kLost);
  CHECK(sites[1].kept_bytes == 0);
  CHECK(*sites[1].kept_bytes_error == 3 * (32 << 10));  // what may be there unseen
  CHECK_FALSE(sites[2].kept_bytes);
  CHECK_FALSE(sites[2].kept_bytes_error);
  CHECK(sites[2].stack == StackState::kCut);
  CHECK_FALSE(sites[2].alive);
}

TEST_CASE("growth: the text shows the top of each table, JSON holds all") {
  TextOptions options;
  options.top = 1;
  const TraceReport report = built();
  const std::string text = formats().front().reporter.write(report, options);
  CHECK(text.find("not shown: 2 more processes (--top 3 shows them)") != std::string::npos);
  CHECK(text.find("not shown: 2 more call sites (--top 3 shows them)") != std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
  const auto json = nlohmann::json::parse(write_as("json", report));
  CHECK(json.at("growth").at("call_sites").size() == 3);
  CHECK(json.at("growth").at("processes").size() == 3);
  CHECK(json.at("growth").at("processes")[1].at("minor_faults").is_null());
  CHECK(nlohmann::json::parse(write_as("json", steady_report())).at("growth").is_null());
}
