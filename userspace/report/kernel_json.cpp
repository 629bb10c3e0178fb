// SPDX-License-Identifier: Apache-2.0
//
// JSON "tidemark.kernel/1", described in docs/output-schema.md.
#include <sys/socket.h>

#include "report/kernel_report.h"
#include "report/names.h"
#include "report/trace_parts.h"
#include "support/socket_names.h"

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

Json cgroup_json(const model::CgroupShare& share) {
  return {{"id", share.id},
          {"path", or_null(share.path)},
          {"name", share.name},
          {"live_bytes", share.live_bytes},
          {"live_count", share.live_count}};
}

Json packet_json(const model::PacketShare& share) {
  return {{"protocol", share.protocol == 0 ? Json(nullptr)
                                           : Json(socket_protocol_name(AF_PACKET, share.protocol))},
          {"device", share.device.empty() ? Json(nullptr) : Json(share.device)},
          {"live_count", share.live_count}};
}

Json older_json(const model::KernelRecord& record) {
  return {{"source", record_source_name(record.source)},
          {"cache", record.cache.empty() ? Json(nullptr) : Json(record.cache)},
          {"live_bytes", or_null(record.bytes)},
          {"live_count", record.count},
          {"function", record.function},
          {"module", record.module.empty() ? "[kernel]" : "[" + record.module + "]"},
          {"file", or_null(record.file)},
          {"line", or_null(record.line)},
          {"stack", record.stack}};
}

// What every trace says of a call site, and whose the kernel's blocks are.
Json kernel_site_json(const CallSiteRow& row) {
  Json site = call_site_json(row);
  site["refill"] = or_null(row.refill);
  Json& cgroups = site["cgroups"] = Json::array();
  for (const auto& share : row.owners.cgroups) cgroups.push_back(cgroup_json(share));
  Json& packets = site["packets"] = Json::array();
  for (const auto& share : row.owners.packets) packets.push_back(packet_json(share));
  return site;
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
  document.list("older", report.older, older_json);
  document.list("call_sites", trace.call_sites, kernel_site_json);
  return std::move(document).finish();
}

}  // namespace tidemark::report
