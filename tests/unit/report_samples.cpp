// SPDX-License-Identifier: Apache-2.0
#include "report_samples.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>

#include "report/reporter.h"
#include "support/file.h"

namespace tidemark::report::test {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kMiB = 1 << 20;

model::Frame frame_of(std::string module, uint64_t offset, std::optional<std::string> function = {},
                      std::optional<uint64_t> function_offset = {}) {
  model::Frame frame;
  frame.address = {0x55e000000000 + offset + 1};
  frame.module = std::move(module);
  frame.build_id = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567";
  frame.offset = offset;
  frame.function = std::move(function);
  frame.function_offset = function_offset;
  return frame;
}

model::Target target_of(int32_t pid, uint32_t generation, std::string comm) {
  model::Target target;
  target.pid = {pid};
  target.generation = {generation};
  target.exe = "/usr/sbin/" + comm;
  target.comm = std::move(comm);
  return target;
}

model::Counter counter_of(std::string name, model::CounterKind kind, uint64_t count,
                          std::string meaning, std::optional<uint64_t> bytes = {}) {
  return {.name = std::move(name),
          .kind = kind,
          .count = count,
          .bytes = bytes,
          .meaning = std::move(meaning)};
}

TraceReport report_of() {
  TraceReport report;
  report.tool_version = "0.1.0";
  report.kernel_release = "6.1.0-18-amd64";
  report.started_unix_ns = 1'700'000'000'000'000'000;
  report.duration_ns = 10'000 * kMs;
  return report;
}

CallSiteRow row_of(int32_t pid, std::string comm, uint64_t live_bytes, uint64_t live_count) {
  CallSiteRow row;
  row.pid = pid;
  row.comm = std::move(comm);
  row.allocator = "glibc";
  row.live_bytes = row.total_bytes = live_bytes;
  row.live_count = row.total_count = live_count;
  return row;
}

CallSiteRow leak_row() {
  CallSiteRow row = row_of(4711, "shopd", 97 * kMiB + 200'000, 1024);
  row.total_bytes += 26 * 100'000;
  row.total_count += 26;
  row.oldest_age_ns = 9800 * kMs;
  row.youngest_age_ns = 120 * kMs;
  row.live_bytes_change = 10 * static_cast<int64_t>(kMiB);
  row.suspect = true;
  row.audit = model::AuditShares{.dead = 1,
                                 .changed = 2,
                                 .looks_live_same = 240,
                                 .looks_live_other = 3,
                                 .looks_live_once = 10,
                                 .unknown = 0,
                                 .same_for_ns = 1900 * kMs};
  row.frames = {
      frame_of("/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30", 0xa9c1b,
               "operator new(unsigned long)", 0x1b),
      frame_of("/usr/sbin/shopd", 0x14f20, "shop::RequestParser::parse(std::string_view)", 0x9f),
      frame_of("/usr/sbin/shopd", 0x15c02,
               "std::_Function_handler<void (shop::Request const&), "
               "shop::Server::route(std::__cxx11::basic_string<"
               "char, std::char_traits<char>, std::allocator<char> > "
               "const&)::{lambda(shop::Request const&)#1}>::"
               "_M_invoke(std::_Any_data const&, shop::Request const&)",
               0x42),
      frame_of("/usr/sbin/shopd", 0x1201a),
      frame_of("/usr/lib/x86_64-linux-gnu/libc.so.6", 0x2724a, "__libc_start_main_impl", 0x85),
      frame_of("/usr/sbin/shopd", 0x9f41, "_start", 0x21)};
  return row;
}

void sum_up(TraceReport& report) {
  for (const CallSiteRow& row : report.call_sites) {
    report.totals.live_bytes += row.live_bytes;
    report.totals.live_count += row.live_count;
    report.totals.total_bytes += row.total_bytes;
    report.totals.total_count += row.total_count;
  }
  report.totals.freed_count = report.totals.total_count - report.totals.live_count;
}

}  // namespace

TraceReport steady_report() {
  TraceReport report = report_of();
  report.targets = {target_of(4711, 1, "shopd")};
  report.targets[0].rss_anon_start_bytes = 40 * kMiB;
  report.targets[0].rss_anon_end_bytes = 139 * kMiB;
  report.targets[0].allocators = {{.name = "glibc",
                                   .module = "/usr/lib/x86_64-linux-gnu/libc.so.6",
                                   .probes = 12,
                                   .hits = 51'000}};
  for (const char* hook : {"malloc", "calloc", "realloc", "free"}) {
    report.coverage.push_back({.hook = hook, .state = model::HookState::kOn, .reason = {}});
  }
  report.counters = {
      counter_of("blocks_full", model::CounterKind::kLoss, 0, "no room for the block", 0),
      counter_of("unmatched_frees", model::CounterKind::kNote, 1234,
                 "frees of blocks older than the trace"),
      counter_of("short_stacks", model::CounterKind::kNote, 0, "stacks of one frame")};
  CallSiteRow young = row_of(4711, "shopd", 64 * 1024, 16);
  young.total_bytes = 180 * kMiB;
  young.total_count = 46'080;
  young.oldest_age_ns = 310 * kMs;
  young.youngest_age_ns = 2 * kMs;
  young.live_bytes_change = -4096;
  young.stack = StackState::kCut;
  young.stack_note = "stack cut: the way to the next caller was not known";
  young.frames = {frame_of("/usr/lib/libz.so.1", 0x123)};
  CallSiteRow freed = row_of(4711, "shopd", 0, 0);
  freed.total_bytes = 4096;
  freed.total_count = 8;
  freed.live_bytes_change = 0;
  freed.frames = {frame_of("/usr/sbin/shopd", 0xaa10, "shop::log(char const*)", 0x10)};
  report.call_sites = {leak_row(), young, freed};
  sum_up(report);
  report.totals.unmatched_frees = 1234;
  report.totals.live_bytes_change = 10 * static_cast<int64_t>(kMiB) - 4096;
  report.explains = {.tracked_growth_bytes = static_cast<int64_t>(report.totals.live_bytes),
                     .rss_anon_growth_bytes = 99 * static_cast<int64_t>(kMiB),
                     .ratio = 0.982};
  report.audit_cost =
      model::AuditCost{.looks = 4, .blocks = 1012, .bytes_read = 3 * kMiB, .cpu_ns = 7 * kMs};
  report.verdicts = {{.severity = model::Severity::kSuspect,
                      .area = "heap",
                      .what = "#1 shop::RequestParser::parse(std::string_view) (shopd) keeps what "
                              "it allocates: 97.2 MiB in 1,024 "
                              "blocks live",
                      .evidence =
                          "live blocks by the quarter of the trace they were born in: 256, 256, "
                          "256, 256; 26 of 1,050 "
                          "allocations freed; 99.9 % of all live bytes; the oldest is 9.8 s old",
                      .next = "a longer trace tells a leak from a cache that fills up: tidemark "
                              "trace -p 4711 --for 1m"}};
  report.next_commands = {"addr2line -Cfe /usr/sbin/shopd 0x14f20",
                          "tidemark trace -p 4711 --for 5m --every 30s"};
  return report;
}

TraceReport ugly_report() {
  TraceReport report = report_of();
  report.duration_ns = 55 * 3600 * 1000 * kMs;
  report.targets = {target_of(10, 1, "sh"), target_of(10, 2, "python3"),
                    target_of(4'194'304, 3, "a\033[31mb\xff;c\n")};
  report.targets[0].alive = false;
  report.targets[1].rss_anon_start_bytes = 3 * kMiB;
  report.targets[1].allocators = {
      {.name = "glibc", .module = "/lib/libc.so.6", .probes = 1, .hits = 1}};
  report.targets[2].alive = false;
  report.targets[2].exit_code = 137;
  report.targets[2].allocators = {
      {.name = "glibc", .module = "/lib/\xfe.so", .probes = 12, .hits = UINT64_MAX}};
  using enum model::HookState;
  report.coverage = {{.hook = "malloc", .state = kOn, .reason = {}},
                     {.hook = "valloc", .state = kMissing, .reason = "not in this library"},
                     {.hook = "pvalloc", .state = kMissing, .reason = "not in this library"},
                     {.hook = "free",
                      .state = kOff,
                      .reason = "no instruction to probe: the entry block is too short"},
                     {.hook = "mystery", .state = kOff, .reason = {}}};
  report.counters = {counter_of("blocks_full", model::CounterKind::kLoss, 123'456'789,
                                "no room for the block: --max-blocks", UINT64_MAX),
                     counter_of("stacks_full", model::CounterKind::kLoss, 7,
                                "no room for the stack: --max-stacks"),
                     counter_of("unmatched_frees", model::CounterKind::kNote, UINT64_MAX,
                                "frees of blocks older than the trace")};
  CallSiteRow huge = row_of(4'194'304, "a\033[31mb\xff;c\n", UINT64_MAX / 2, UINT64_MAX / 4);
  huge.total_bytes = UINT64_MAX;
  huge.total_count = UINT64_MAX / 2;
  huge.oldest_age_ns = 55 * 3600 * 1000 * kMs;
  huge.youngest_age_ns = 0;
  huge.stack = StackState::kLost;
  huge.stack_note =
      "stack lost: the stack table was full or the stack could not be read, see the losses";
  huge.live_bytes_change = INT64_MIN;
  CallSiteRow bare = row_of(10, "python3", 5000, 1);
  bare.oldest_age_ns = bare.youngest_age_ns = 5 * kMs;
  bare.frames = {frame_of("", 0xdeadbeef), frame_of("[vdso]", 0x12, "evil;name\n\033[0m", 0x2)};
  bare.frames[1].inlined = true;
  bare.frames[1].file = "/src/with;semicolon.c";
  bare.frames[1].line = 42;
  bare.stack = StackState::kCut;
  CallSiteRow orphan = row_of(0, "", 4096, 1);
  orphan.kind = model::Kind::kMapping;
  orphan.pid.reset();
  orphan.comm.reset();
  orphan.allocator.reset();
  orphan.frames = {frame_of("/usr/bin/python3.11", 0x99, "mmap_region", 0)};
  report.call_sites = {huge, bare, orphan};
  sum_up(report);
  report.totals.unmatched_frees = UINT64_MAX;
  report.explains.tracked_growth_bytes = INT64_MAX;
  report.verdicts = {{.severity = model::Severity::kInfo,
                      .area = "losses",
                      .what = "blocks_full: 123,456,789 lost",
                      .evidence = "no room",
                      .next = "larger tables"},
                     {.severity = model::Severity::kInfo,
                      .area = "coverage",
                      .what = "pid 10 called exec during the trace",
                      .evidence = "sh (generation 1), then python3 (generation 2)",
                      .next = "each generation has call sites of its own"}};
  report.next_commands = {"tidemark doctor -p 10"};
  return report;
}

TraceReport empty_report() {
  TraceReport report = report_of();
  report.targets = {target_of(4711, 1, "idle")};
  report.targets[0].rss_anon_start_bytes = report.targets[0].rss_anon_end_bytes = kMiB;
  report.targets[0].allocators = {
      {.name = "glibc", .module = "/lib/libc.so.6", .probes = 12, .hits = 0}};
  report.coverage = {{.hook = "malloc", .state = model::HookState::kOn, .reason = {}}};
  report.explains.rss_anon_growth_bytes = 0;
  report.totals.unmatched_frees = 0;
  report.empty_because =
      "no allocation in 10.0 s: none of the 12 probes was hit; the target was idle, or it "
      "allocates with something else";
  report.next_commands = {"tidemark doctor -p 4711"};
  return report;
}

TraceReport windowed_report() {
  TraceReport report = steady_report();
  report.mode = {
      .exact = false,
      .sampling_interval_bytes = 64 << 10,
      .budget_percent = 2,
      .duty_ratio = 0.033,
      .budget = model::GovernorAccount{.own_ns = 9'800'000'000,
                                       .extra_ns = 190'000'000,
                                       .worst_share = 0.0196,
                                       .exact_ns = 25'000'000,
                                       .sampled_ns = 305'000'000,
                                       .paused_ns = 9'670'000'000,
                                       .longest_interval_bytes = 64 << 10,
                                       .changes = 9,
                                       .log = {{0, {model::Gear::kExact, 0}},
                                               {25'000'000, {model::Gear::kPaused, 8192}},
                                               {2'500'000'000, {model::Gear::kSampled, 8192}}}}};
  model::WindowFacts facts;
  facts.began_ns = 25'000'000;
  facts.windows = {{100'000'000, 200'000'000}, {4'000'000'000, 4'205'000'000}};
  facts.exposure_age_ns = 60'000'000;
  facts.reach = {.low = 0.9, .high = 1.125};
  report.windows = facts;
  model::WindowFigures figures;
  figures.estimate.birth_bytes_per_s = {5e6, 4e6, 6.5e6};
  figures.estimate.births_per_s = {5000, 4000, 6500};
  figures.estimate.live_bytes = {6e6, 5e5, 2e7};
  figures.estimate.leak_bytes_per_s = {6e5, 2e5, 1.5e6};
  figures.estimate.survival = {{.age_ns = 8e7, .share = {.value = 0.5, .low = 0.4, .high = 0.7}},
                               {.age_ns = 1.2e9, .share = {.value = 0.2, .low = 0.1, .high = 0.4}},
                               {.age_ns = 5e9, .share = {.value = 0.12, .low = 0.04, .high = 0.3}}};
  figures.earlier_live_bytes = 4096;
  report.call_sites[0].windowed = figures;
  return report;
}

void check_golden(const std::string& name, const std::string& text) {
  const std::string path = TIDEMARK_SOURCE_DIR "/tests/golden/" + name;
  if (std::getenv("TIDEMARK_UPDATE_GOLDEN") != nullptr) {
    REQUIRE(ReplacedFile::write(path, text).has_value());
  }
  const auto golden = read_file(path);
  REQUIRE_MESSAGE(golden.has_value(), path);
  CHECK_MESSAGE(text == *golden, path);
}

std::string write_as(const std::string& format, const TraceReport& report) {
  const auto found = std::ranges::find(formats(), format, &Format::name);
  REQUIRE(found != formats().end());
  return found->reporter.write(report, {});
}

}  // namespace tidemark::report::test
