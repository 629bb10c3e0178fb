// SPDX-License-Identifier: Apache-2.0
//
// JSON "tidemark.diff/1", described in docs/output-schema.md.
#include "report/json_document.h"
#include "report/memory_diff_report.h"

namespace tidemark::report {
namespace {

Json growth_json(const model::Growth& growth) {
  return {{"area", growth.area},
          {"name", growth.name},
          {"before_bytes", growth.before_bytes},
          {"after_bytes", growth.after_bytes},
          {"change_bytes", growth.change_bytes},
          {"bytes_per_hour", or_null(growth.bytes_per_hour)},
          {"time_left_ns", or_null(growth.time_left_ns)},
          {"time_left_of", or_null(growth.time_left_of)}};
}

Json passing_json(const model::Passing& passing) {
  return {{"name", passing.name},
          {"count", passing.count},
          {"peak_bytes", or_null(passing.peak_bytes)},
          {"first_seen_unix_ns", passing.first_seen_unix_ns},
          {"last_seen_unix_ns", passing.last_seen_unix_ns}};
}

}  // namespace

std::string write_diff_json(const model::MemoryDiff& diff) {
  Document document(false);
  document.field("schema", "tidemark.diff/1");
  document.field("tool_version", TIDEMARK_VERSION);
  document.field("before_unix_ns", diff.before_unix_ns);
  document.field("after_unix_ns", diff.after_unix_ns);
  document.field("available_change_bytes", or_null(diff.available_change_bytes));
  document.list("rows", diff.rows, growth_json);
  document.list("passing_processes", diff.passing, passing_json);
  return std::move(document).finish();
}

}  // namespace tidemark::report
