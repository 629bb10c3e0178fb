// SPDX-License-Identifier: Apache-2.0
//
// JSON "tidemark.kernel/1", described in docs/output-schema.md.
#include "report/kernel_report.h"
#include "report/names.h"
#include "report/trace_parts.h"

namespace tidemark::report {
namespace {

Json reconciled_json(const model::Reconciled& row) {
  return {{"cache", row.cache.empty() ? Json(nullptr) : Json(row.cache)},
          {"aliases", row.aliases},
          {"kind", kind_name(row.kind)},
          {"gained_live_count", row.gained_live_count},
          {"gained_kernel_count", or_null(row.gained_kernel_count)},
          {"missed_frees", row.missed_frees},
          {"unseen", or_null(row.unseen())},
          {"dropped_by_verification", row.dropped_by_verification},
          {"trust", or_null(row.trust)}};
}

// The kernel has no mappings of its own.
Json kernel_totals_json(const TraceReport& trace) {
  Json totals = totals_json(trace.totals, trace.mappings);
  totals.erase("mapping_live_bytes");
  totals.erase("mapping_resident_bytes");
  return totals;
}

}  // namespace

std::string write_kernel_json(const KernelReport& report, JsonLines lines) {
  const TraceReport& trace = report.trace;
  Document document(lines == JsonLines::kOne);
  document.field("schema", "tidemark.kernel/1");
  document.field("tool_version", trace.tool_version);
  document.field("kernel_release", trace.kernel_release);
  document.field("started_unix_ns", trace.started_unix_ns);
  document.field("duration_ns", trace.duration_ns);
  document.field("mode", mode_json(trace.mode));
  document.list("coverage", trace.coverage, coverage_json);
  document.list("losses", counters_of(trace, model::CounterKind::kLoss), loss_json);
  document.list("notes", counters_of(trace, model::CounterKind::kNote), note_json);
  document.field("totals", kernel_totals_json(trace));
  document.list("reconcile", report.reconcile, reconciled_json);
  document.list("verdicts", trace.verdicts, verdict_json);
  document.list("call_sites", trace.call_sites, call_site_json);
  return std::move(document).finish();
}

}  // namespace tidemark::report
