// SPDX-License-Identifier: Apache-2.0
//
// JSON "tidemark.trace/1", described in docs/output-schema.md. A report can hold 100,000 call
// sites: each row becomes text by itself, and the whole is never held as a tree, which would take
// several times the memory on a machine that has none to spare.
#include <fmt/format.h>

#include <string_view>

#include "report/gfp_flags.h"
#include "report/mappings.h"
#include "report/names.h"
#include "report/reporters.h"
#include "report/trace_parts.h"

namespace tidemark::report {
namespace {

std::string hex(uint64_t value) {
  return fmt::format("{:#x}", value);
}

std::string_view name_of(StackState state) {
  switch (state) {
    case StackState::kWhole:
      return "whole";
    case StackState::kCut:
      return "cut";
    case StackState::kLost:
      return "lost";
  }
  return "lost";
}

Json target_json(const model::Target& target) {
  Json allocators = Json::array();
  for (const model::AllocatorUse& use : target.allocators) {
    allocators.push_back({{"name", use.name},
                          {"module", use.module},
                          {"probes", use.probes},
                          {"hits", or_null(use.hits)}});
  }
  return {{"pid", target.pid.value},
          {"comm", target.comm},
          {"exe", target.exe},
          {"alive", target.alive},
          {"exit_code", or_null(target.exit_code)},
          {"generation", target.generation.value},
          {"rss_anon_start_bytes", or_null(target.rss_anon_start_bytes)},
          {"rss_anon_end_bytes", or_null(target.rss_anon_end_bytes)},
          {"allocators", std::move(allocators)}};
}

Json explains_json(const Explains& explains) {
  return {{"tracked_growth_bytes", explains.tracked_growth_bytes},
          {"rss_anon_growth_bytes", or_null(explains.rss_anon_growth_bytes)},
          {"ratio", or_null(explains.ratio)}};
}

Json frame_json(const model::Frame& frame) {
  return {{"address", hex(frame.address.value)},
          {"module", frame.module},
          {"build_id", or_null(frame.build_id)},
          {"offset", hex(frame.offset)},
          {"function", or_null(frame.function)},
          {"function_offset", or_null(frame.function_offset)},
          {"file", or_null(frame.file)},
          {"line", or_null(frame.line)},
          {"inlined", frame.inlined}};
}

}  // namespace

Json mode_json(const Mode& mode) {
  return {{"exact", mode.exact},
          {"sampling_interval_bytes", or_null(mode.sampling_interval_bytes)},
          {"budget_percent", or_null(mode.budget_percent)},
          {"duty_ratio", mode.duty_ratio}};
}

Json loss_json(const model::Counter& counter) {
  return {{"counter", counter.name},
          {"count", counter.count},
          {"bytes", or_null(counter.bytes)},
          {"meaning", counter.meaning}};
}

Json note_json(const model::Counter& counter) {
  return {{"counter", counter.name}, {"count", counter.count}, {"meaning", counter.meaning}};
}

Json totals_json(const Totals& totals, const MappingSums& mappings) {
  return {{"live_bytes", totals.live_bytes},
          {"live_usable_bytes", or_null(totals.live_usable_bytes)},
          {"live_count", totals.live_count},
          {"total_bytes", totals.total_bytes},
          {"total_count", totals.total_count},
          {"freed_count", totals.freed_count},
          {"unmatched_frees", totals.unmatched_frees},
          {"mapping_live_bytes", mappings.live_bytes},
          {"mapping_resident_bytes", or_null(mappings.resident_bytes)}};
}

namespace {

Json apart_json(const ApartRow& row) {
  return {{"purpose", or_null(purpose_name(row.purpose))},
          {"live_bytes", row.live_bytes},
          {"live_count", row.live_count},
          {"total_bytes", row.total_bytes},
          {"total_count", row.total_count},
          {"resident_bytes", or_null(row.resident_bytes)}};
}

}  // namespace

Json call_site_json(const CallSiteRow& row) {
  Json frames = Json::array();
  for (const model::Frame& frame : row.frames) frames.push_back(frame_json(frame));
  return {{"kind", kind_name(row.kind)},
          {"pid", or_null(row.pid)},
          {"comm", or_null(row.comm)},
          {"live_bytes", row.live_bytes},
          {"live_usable_bytes", or_null(row.live_usable_bytes)},
          {"live_count", row.live_count},
          {"live_bytes_error", or_null(row.live_bytes_error)},
          {"total_bytes", row.total_bytes},
          {"total_count", row.total_count},
          {"oldest_age_ns", or_null(row.oldest_age_ns)},
          {"youngest_age_ns", or_null(row.youngest_age_ns)},
          {"allocator", or_null(row.allocator)},
          {"purpose", or_null(purpose_name(row.purpose))},
          {"resident_bytes", row.resident ? Json(row.resident->bytes) : Json(nullptr)},
          {"cache", or_null(row.cache)},
          {"aliases", row.aliases},
          {"order", or_null(row.order)},
          {"gfp_flags", row.gfp_flags ? Json(gfp_words(*row.gfp_flags)) : Json(nullptr)},
          {"stack", name_of(row.stack)},
          {"frames", std::move(frames)}};
}

std::vector<model::Counter> counters_of(const TraceReport& report, model::CounterKind kind) {
  std::vector<model::Counter> kept;
  for (const model::Counter& counter : report.counters) {
    if (counter.kind == kind) kept.push_back(counter);
  }
  return kept;
}

namespace {

class JsonReporter final : public Reporter {
 public:
  explicit JsonReporter(bool one_line) : one_line_(one_line) {}

  std::string write(const TraceReport& report, const TextOptions&) const override {
    Document document(one_line_);
    document.field("schema", "tidemark.trace/1");
    document.field("tool_version", report.tool_version);
    document.field("kernel_release", report.kernel_release);
    document.field("started_unix_ns", report.started_unix_ns);
    document.field("duration_ns", report.duration_ns);
    document.field("mode", mode_json(report.mode));
    document.list("targets", report.targets, target_json);
    document.list("coverage", report.coverage, coverage_json);
    document.list("losses", counters_of(report, model::CounterKind::kLoss), loss_json);
    document.list("notes", counters_of(report, model::CounterKind::kNote), note_json);
    document.field("totals", totals_json(report.totals, report.mappings));
    document.list("apart", report.apart, apart_json);
    document.field("explains", explains_json(report.explains));
    document.list("verdicts", report.verdicts, verdict_json);
    document.list("call_sites", report.call_sites, call_site_json);
    return std::move(document).finish();
  }

 private:
  bool one_line_;
};

}  // namespace

const Reporter& json_reporter() {
  static const JsonReporter kReporter(false);
  return kReporter;
}

const Reporter& json_line_reporter() {
  static const JsonReporter kReporter(true);
  return kReporter;
}

}  // namespace tidemark::report
