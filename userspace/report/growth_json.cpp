// SPDX-License-Identifier: Apache-2.0
//
// The field "growth" of "tidemark.trace/1", described in docs/output-schema.md.
#include "report/growth.h"
#include "report/trace_parts.h"

namespace tidemark::report {
namespace {

Json sizes_json(const model::ResidentSizes& sizes) {
  return {{"resident_bytes", sizes.resident_bytes()},
          {"anonymous_bytes", sizes.anonymous_bytes},
          {"file_bytes", sizes.file_bytes},
          {"shared_bytes", sizes.shared_bytes},
          {"swap_bytes", sizes.swap_bytes}};
}

Json trend_json(const std::optional<model::GrowthTrend>& trend) {
  if (!trend) return nullptr;
  return {{"bytes_per_s", trend->bytes_per_s},
          {"low", trend->low},
          {"high", trend->high},
          {"span_ns", trend->span_ns},
          {"steady", trend->steady}};
}

Json process_json(const model::GrowthProcess& process) {
  const auto& faults = process.faults;
  return {{"pid", process.pid.value},
          {"comm", process.comm},
          {"started_meanwhile", process.started_meanwhile},
          {"watched_ns", process.watched_ns},
          {"growth_bytes", process.growth_bytes()},
          {"first", sizes_json(process.first)},
          {"last", sizes_json(process.last)},
          {"touched_bytes", or_null(process.touched_bytes)},
          {"minor_faults", faults ? Json(faults->minor) : Json()},
          {"major_faults", faults ? Json(faults->major) : Json()},
          {"heap_growth_bytes", or_null(process.heap_growth_bytes)},
          {"private_growth_bytes", or_null(process.private_growth_bytes)},
          {"trend", trend_json(process.trend)}};
}

Json ended_json(const model::EndedProcesses& ended) {
  return {{"comm", ended.comm}, {"count", ended.count}, {"touched_bytes", ended.touched_bytes}};
}

Json frames_json(const GrowthSiteRow& row) {
  Json frames = Json::array();
  for (const model::Frame& frame : row.frames) frames.push_back(frame_json(frame));
  return frames;
}

Json space_json(const GrowthSiteRow& row) {
  return {{"pid", row.pid},
          {"comm", row.comm},
          {"alive", row.alive},
          {"kind", row.kind == model::GrowthKind::kBrk ? "brk" : "mmap"},
          {"samples", row.samples},
          {"gained_bytes", row.touched_bytes},
          {"gained_bytes_error", row.touched_bytes_error},
          {"stack", stack_state_name(row.stack)},
          {"stack_reason", or_null(row.stack_note)},
          {"frames", frames_json(row)}};
}

Json site_json(const GrowthSiteRow& row) {
  return {{"pid", row.pid},
          {"comm", row.comm},
          {"alive", row.alive},
          {"kind", row.kind == model::GrowthKind::kShared ? "shared" : "anonymous"},
          {"in_syscall", row.in_syscall},
          {"samples", row.samples},
          {"touched_bytes", row.touched_bytes},
          {"touched_bytes_error", row.touched_bytes_error},
          {"kept_bytes", or_null(row.kept_bytes)},
          {"kept_bytes_error", or_null(row.kept_bytes_error)},
          {"stack", stack_state_name(row.stack)},
          {"stack_reason", or_null(row.stack_note)},
          {"frames", frames_json(row)}};
}

template <typename Rows, typename ToJson>
Json list_of(const Rows& rows, ToJson to_json) {
  Json list = Json::array();
  for (const auto& row : rows) list.push_back(to_json(row));
  return list;
}

}  // namespace

Json growth_json(const std::optional<GrowthReport>& growth) {
  if (!growth) return nullptr;
  return {{"alone", growth->alone},
          {"processes_watched", growth->processes_watched},
          {"resident_error_bytes", growth->resident_error_bytes},
          {"processes", list_of(growth->processes, process_json)},
          {"ended", list_of(growth->ended, ended_json)},
          {"call_sites", list_of(growth->call_sites, site_json)},
          {"address_space", list_of(growth->address_space, space_json)}};
}

}  // namespace tidemark::report
