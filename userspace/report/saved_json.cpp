// SPDX-License-Identifier: Apache-2.0
#include "report/saved_json.h"

#include "report/memory_diff_report.h"

namespace tidemark::report {
namespace {

// A trace is of the time when it ended.
std::optional<uint64_t> taken_at(const SavedJson& json, model::Saved what) {
  if (what == model::Saved::kReport) return number(json, "taken_unix_ns");
  const auto started = number(json, "started_unix_ns"), duration = number(json, "duration_ns");
  if (!started || !duration) return std::nullopt;
  return *started + *duration;
}

}  // namespace

std::optional<uint64_t> number(const SavedJson& row, const char* field) {
  const auto found = row.find(field);
  if (found == row.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<uint64_t>();
}

std::string text(const SavedJson& row, const char* field) {
  const auto found = row.find(field);
  return found != row.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string number_text(const SavedJson& row, const char* field) {
  const auto found = row.find(field);
  return found != row.end() && found->is_number() ? found->dump() : std::string();
}

// The list at a path of names; null where the document has none.
const SavedJson& at_path(const SavedJson& document, std::string_view path) {
  static const SavedJson kNone;
  const SavedJson* here = &document;
  while (!path.empty()) {
    const auto dot = path.find('.');
    if (!here->is_object()) return kNone;
    const auto found = here->find(path.substr(0, dot));
    if (found == here->end()) return kNone;
    here = &*found;
    path = dot == std::string_view::npos ? std::string_view{} : path.substr(dot + 1);
  }
  return *here;
}

std::vector<const SavedJson*> rows_at(const SavedJson& document, std::string_view path) {
  std::vector<const SavedJson*> rows;
  const SavedJson& list = at_path(document, path);
  if (!list.is_array()) return rows;
  for (const SavedJson& row : list) {
    if (row.is_object()) rows.push_back(&row);
  }
  return rows;
}

Result<model::MemorySummary> read_summary(std::string_view document) {
  const SavedJson json = SavedJson::parse(document, nullptr, false);
  if (json.is_discarded()) return fail("it is not one whole JSON document");
  const std::string schema = json.is_object() ? text(json, "schema") : std::string();
  const bool is_report = schema == "tidemark.report/1";
  if (!is_report && schema != "tidemark.trace/1") {
    return fail(
        "it is neither a report (tidemark report --json) nor a trace (tidemark trace --json)");
  }
  model::MemorySummary summary = is_report ? summarize_report(json) : summarize_trace(json);
  const auto taken = taken_at(json, summary.what);
  if (!taken) return fail("it does not say when it was taken");
  summary.taken_unix_ns = *taken;
  return summary;
}

}  // namespace tidemark::report
