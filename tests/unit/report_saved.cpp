// SPDX-License-Identifier: Apache-2.0
//
// Documents that are read back to be compared: traces. (Reports: report_memory.cpp.)
#include <doctest/doctest.h>

#include <algorithm>

#include "report/memory_diff_report.h"
#include "report_samples.h"

using namespace tidemark;
using namespace tidemark::report;
using namespace tidemark::report::test;

namespace {

model::MemorySummary summary_of(const TraceReport& report) {
  auto summary = read_summary(write_as("json", report));
  REQUIRE(summary.has_value());
  return std::move(*summary);
}

const model::Growth* row_of(const model::MemoryDiff& diff, std::string_view area) {
  const auto found = std::ranges::find(diff.rows, area, &model::Growth::area);
  return found == diff.rows.end() ? nullptr : &*found;
}

}  // namespace

TEST_CASE("saved: a trace comes to its call sites, by the names that people know them by") {
  const TraceReport report = steady_report();
  const auto summary = summary_of(report);
  CHECK(summary.what == model::Saved::kTrace);
  CHECK(summary.taken_unix_ns == report.started_unix_ns + report.duration_ns);
  CHECK_FALSE(summary.available_bytes.has_value());
  const auto sites = std::ranges::count(summary.quantities, "call_site", &model::Quantity::area);
  CHECK(sites == static_cast<int64_t>(report.call_sites.size()));
  const auto rss = std::ranges::find(summary.quantities, "rss_anon", &model::Quantity::area);
  REQUIRE(rss != summary.quantities.end());
  CHECK(rss->bytes == *report.targets[0].rss_anon_end_bytes);
}

TEST_CASE("saved: two traces are compared by place, whatever the addresses and the pid were") {
  TraceReport before = steady_report();
  TraceReport after = before;
  after.started_unix_ns += 3'600'000'000'000;
  CallSiteRow& grown = after.call_sites[0];
  grown.live_bytes += 8 << 20;
  grown.pid = 9999;
  for (model::Frame& frame : grown.frames) frame.address.value += 0x10000;
  const auto diff = model::compare_memory({summary_of(before), summary_of(after)});
  const model::Growth* row = row_of(diff, "call_site");
  REQUIRE(row != nullptr);
  CHECK(row->change_bytes == 8 << 20);
  CHECK(row->before_bytes == before.call_sites[0].live_bytes);
  CHECK(row->name.find("RequestParser::parse") != std::string::npos);
  CHECK(std::ranges::count(diff.rows, "call_site", &model::Growth::area) == 1);
  CHECK_FALSE(row->time_left_ns.has_value());
}

TEST_CASE("saved: rows of a trace that have a wrong shape are passed over") {
  const auto odd = read_summary(
      R"({"schema":"tidemark.trace/1","started_unix_ns":1,"duration_ns":2,"targets":{"pid":1},
          "call_sites":[7,{"live_bytes":-1},{"live_bytes":5,"frames":[3,{"offset":"x"}]},
                        {"live_bytes":6,"frames":9}]})");
  REQUIRE(odd.has_value());
  CHECK(odd->quantities.size() == 2);
  CHECK(odd->taken_unix_ns == 3);
}
