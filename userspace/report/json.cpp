// SPDX-License-Identifier: Apache-2.0
//
// JSON "tidemark.trace/1", described in docs/output-schema.md. A report can hold 100,000 call
// sites: each row becomes text by itself, and the whole is never held as a tree, which would take
// several times the memory on a machine that has none to spare.
#include <fmt/format.h>

#include <string_view>

#include "report/audit.h"
#include "report/gfp_flags.h"
#include "report/mappings.h"
#include "report/names.h"
#include "report/reporters.h"
#include "report/trace_parts.h"

namespace tidemark::report {

std::string_view stack_state_name(StackState state) {
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

namespace {

std::string hex(uint64_t value) {
  return fmt::format("{:#x}", value);
}

}  // namespace

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

namespace {

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

}  // namespace

namespace {

std::string_view gear_text(model::Gear gear) {
  switch (gear) {
    case model::Gear::kExact:
      return "exact";
    case model::Gear::kSampled:
      return "sampled";
    case model::Gear::kPaused:
      return "paused";
  }
  return "paused";
}

Json log_json(const std::vector<model::GovernorAccount::Decided>& log) {
  Json rows = Json::array();
  for (const auto& [at_ns, setting] : log) {
    const bool samples = setting.gear == model::Gear::kSampled;
    rows.push_back({{"at_ns", at_ns},
                    {"gear", gear_text(setting.gear)},
                    {"interval_bytes", samples ? Json(setting.interval_bytes) : Json()}});
  }
  return rows;
}

Json budget_json(const model::GovernorAccount& account) {
  return {{"target_cpu_ns", account.own_ns},
          {"tracing_cpu_ns", account.extra_ns},
          {"spent_percent", 100 * account.share()},
          {"worst_10s_percent", account.worst_share ? Json(100 * *account.worst_share) : Json()},
          {"exact_ns", account.exact_ns},
          {"sampled_ns", account.sampled_ns},
          {"paused_ns", account.paused_ns},
          {"longest_interval_bytes",
           account.longest_interval_bytes != 0 ? Json(account.longest_interval_bytes) : Json()},
          {"changes", account.changes},
          {"log", log_json(account.log)}};
}

}  // namespace

Json mode_json(const Mode& mode) {
  return {{"exact", mode.exact},
          {"sampling_interval_bytes", or_null(mode.sampling_interval_bytes)},
          {"budget_percent", or_null(mode.budget_percent)},
          {"duty_ratio", mode.duty_ratio},
          {"budget", mode.budget ? budget_json(*mode.budget) : Json()}};
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
          {"unmatched_frees", or_null(totals.unmatched_frees)},
          {"live_bytes_error", or_null(totals.live_bytes_error)},
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

namespace {

Json estimate_json(const model::Estimate& estimate) {
  return {{"value", estimate.value}, {"low", estimate.low}, {"high", estimate.high}};
}

Json window_figures_json(const std::optional<model::WindowFigures>& figures) {
  if (!figures) return nullptr;
  const model::SiteEstimate& since = figures->estimate;
  Json survival = Json::array();
  for (const model::SurvivalPoint& point : since.survival) {
    Json row = estimate_json(point.share);
    row["age_ns"] = static_cast<uint64_t>(point.age_ns);
    survival.push_back(std::move(row));
  }
  return {{"birth_bytes_per_s", estimate_json(since.birth_bytes_per_s)},
          {"births_per_s", estimate_json(since.births_per_s)},
          {"live_bytes", estimate_json(since.live_bytes)},
          {"leak_bytes_per_s", estimate_json(since.leak_bytes_per_s)},
          {"survival", std::move(survival)},
          {"earlier_live_bytes", figures->earlier_live_bytes}};
}

Json windows_json(const std::optional<model::WindowFacts>& windows) {
  if (!windows) return nullptr;
  uint64_t open_ns = 0;
  for (const model::Window& window : windows->windows) open_ns += window.end_ns - window.start_ns;
  return {
      {"count", windows->windows.size()},
      {"open_ns", open_ns},
      {"exposure_age_ns",
       windows->exposure_age_ns ? Json(static_cast<uint64_t>(*windows->exposure_age_ns)) : Json()},
      {"too_few", windows->too_few.empty() ? Json() : Json(windows->too_few)},
      {"rate_error", windows->too_few.empty()
                         ? Json{{"low", windows->reach.low}, {"high", windows->reach.high}}
                         : Json()}};
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
          {"audit", audit_json(row.audit)},
          {"windows", window_figures_json(row.windowed)},
          {"stack", stack_state_name(row.stack)},
          {"stack_reason", or_null(row.stack_note)},
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
    document.field("audit", audit_cost_json(report.audit_cost));
    document.field("windows", windows_json(report.windows));
    document.field("growth", growth_json(report.growth));
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
