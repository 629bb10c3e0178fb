// SPDX-License-Identifier: Apache-2.0
//
// The JSON document: against golden files, and field by field against the contract.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "report/reporters.h"
#include "report_samples.h"

using namespace tidemark::report;
using namespace tidemark::report::test;
using Json = nlohmann::ordered_json;

namespace {

std::vector<std::string> keys_of(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

using Keys = std::vector<std::string>;

}  // namespace

TEST_CASE("json: golden files") {
  check_golden("trace_steady.json", write_as("json", steady_report()));
  check_golden("trace_ugly.json", write_as("json", ugly_report()));
  check_golden("trace_empty.json", write_as("json", empty_report()));
  check_golden("trace_windowed.json", write_as("json", windowed_report()));
}

TEST_CASE("json: all fields of the contract are there, in its order") {
  const Json document = Json::parse(write_as("json", steady_report()));
  CHECK(keys_of(document) == Keys{"schema", "tool_version", "kernel_release", "started_unix_ns",
                                  "duration_ns", "mode", "targets", "coverage", "losses", "notes",
                                  "totals", "apart", "explains", "audit", "windows", "growth",
                                  "verdicts", "call_sites"});
  CHECK(document["schema"] == "tidemark.trace/1");
  CHECK(keys_of(document["mode"]) ==
        Keys{"exact", "sampling_interval_bytes", "budget_percent", "duty_ratio", "budget"});
  CHECK(keys_of(document["targets"][0]) == Keys{"pid", "comm", "exe", "alive", "exit_code",
                                                "generation", "rss_anon_start_bytes",
                                                "rss_anon_end_bytes", "allocators"});
  CHECK(keys_of(document["targets"][0]["allocators"][0]) ==
        Keys{"name", "module", "probes", "hits"});
  CHECK(keys_of(document["coverage"][0]) == Keys{"hook", "state", "reason"});
  CHECK(keys_of(document["losses"][0]) == Keys{"counter", "count", "bytes", "meaning"});
  CHECK(keys_of(document["notes"][0]) == Keys{"counter", "count", "meaning"});
  CHECK(keys_of(document["totals"]) == Keys{"live_bytes", "live_usable_bytes", "live_count",
                                            "total_bytes", "total_count", "freed_count",
                                            "unmatched_frees", "live_bytes_error",
                                            "mapping_live_bytes", "mapping_resident_bytes"});
  CHECK(keys_of(document["explains"]) ==
        Keys{"tracked_growth_bytes", "rss_anon_growth_bytes", "ratio"});
  CHECK(keys_of(document["audit"]) == Keys{"looks", "blocks", "bytes_read", "cpu_ns"});
  CHECK(keys_of(document["call_sites"][0]["audit"]) ==
        Keys{"looked_up", "dead", "changed", "looks_live_unchanged", "looks_live_changed",
             "looks_live_once", "unknown", "unchanged_for_ns"});
  CHECK(document["call_sites"][1]["audit"].is_null());
  CHECK(keys_of(document["verdicts"][0]) == Keys{"severity", "area", "what", "evidence", "next"});
  CHECK(keys_of(document["call_sites"][0]) == Keys{"kind",
                                                   "pid",
                                                   "comm",
                                                   "live_bytes",
                                                   "live_usable_bytes",
                                                   "live_count",
                                                   "live_bytes_error",
                                                   "total_bytes",
                                                   "total_count",
                                                   "oldest_age_ns",
                                                   "youngest_age_ns",
                                                   "allocator",
                                                   "purpose",
                                                   "resident_bytes",
                                                   "cache",
                                                   "aliases",
                                                   "order",
                                                   "gfp_flags",
                                                   "audit",
                                                   "windows",
                                                   "stack",
                                                   "stack_reason",
                                                   "frames"});
  CHECK(keys_of(document["call_sites"][0]["frames"][0]) ==
        Keys{"address", "module", "build_id", "offset", "function", "function_offset", "file",
             "line", "inlined"});
}

TEST_CASE("json: counters that are zero are there, unknown is null") {
  const Json document = Json::parse(write_as("json", steady_report()));
  CHECK(document["losses"].size() == 1);
  CHECK(document["losses"][0]["count"] == 0);
  CHECK(document["notes"].size() == 2);
  CHECK(document["totals"]["live_usable_bytes"].is_null());
  CHECK(document["call_sites"][0]["frames"][0]["file"].is_null());
  CHECK(document["call_sites"][0]["frames"][0]["offset"] == "0xa9c1b");
  const Json ugly = Json::parse(write_as("json", ugly_report()));
  CHECK(ugly["targets"][0]["rss_anon_start_bytes"].is_null());
  CHECK(ugly["targets"][2]["exit_code"] == 137);
  CHECK(ugly["explains"]["ratio"].is_null());
  CHECK(ugly["call_sites"][2]["pid"].is_null());
}

TEST_CASE("json: one line is the same document") {
  for (const TraceReport& report : {steady_report(), ugly_report(), empty_report()}) {
    const std::string line = json_line_reporter().write(report, {});
    CHECK(std::ranges::count(line, '\n') == 1);
    CHECK(line.back() == '\n');
    CHECK(Json::parse(line) == Json::parse(json_reporter().write(report, {})));
  }
}

TEST_CASE("json: names that are not UTF-8 neither throw nor break the document") {
  const Json document = Json::parse(write_as("json", ugly_report()));
  CHECK(document["targets"][2]["comm"] == "a\033[31mb\xef\xbf\xbd;c\n");
}

TEST_CASE("json: text options limit nothing") {
  CHECK(json_reporter().write(steady_report(), {.top = 1, .min_age_ns = UINT64_MAX}) ==
        json_reporter().write(steady_report(), {}));
}
