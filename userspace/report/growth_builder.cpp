// SPDX-License-Identifier: Apache-2.0
#include "report/growth_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>
#include <unordered_map>

#include "model/sampling.h"
#include "report/live_error.h"
#include "report/names.h"
#include "support/units.h"

namespace tidemark::report {
namespace {

constexpr std::size_t kNameWidth = 60;
constexpr std::size_t kMostCommands = 3;

std::string per_minute(double bytes_per_s) {
  return format_bytes(to_whole(60 * bytes_per_s));
}

using Ends = std::unordered_map<model::StackId, model::StackEnd>;

GrowthSiteRow row_of(const model::GrowthSite& site, const StackNames& names, const Ends& ends) {
  GrowthSiteRow row;
  row.kind = site.kind;
  row.in_syscall = site.in_syscall;
  row.samples = site.samples;
  row.touched_bytes = to_whole(site.touched_bytes);
  row.touched_bytes_error =
      model::half_width_95(site.touched_bytes, site.touched_variance, site.interval_bytes);
  if (site.kept_bytes) {
    row.kept_bytes = to_whole(*site.kept_bytes);
    row.kept_bytes_error =
        model::half_width_95(*site.kept_bytes, site.kept_variance, site.interval_bytes);
  }
  const auto end = ends.find(site.stack);
  if (end != ends.end()) row.frames = names(site.owner, site.stack);
  settle_stack(row.frames, end == ends.end() ? model::StackEnd::kBroken : end->second, row.stack,
               row.stack_note);
  return row;
}

std::string evidence_of(const model::GrowthProcess& process, const GrowthReport& growth) {
  std::string text =
      fmt::format("{} to {} in the last {}, {} a minute ({} to {}, 95 %)",
                  format_bytes(process.first.kept_bytes()), format_bytes(process.last.kept_bytes()),
                  format_duration(Nanoseconds(static_cast<int64_t>(process.watched_ns))),
                  per_minute(process.trend->bytes_per_s), per_minute(process.trend->low),
                  per_minute(process.trend->high));
  const auto site = std::ranges::find_if(growth.call_sites, [&](const GrowthSiteRow& row) {
    return row.alive && row.pid == process.pid.value;
  });
  const model::Frame* frame =
      site == growth.call_sites.end() ? nullptr : speaking_frame(site->frames);
  if (frame == nullptr) return text;
  text += fmt::format("; most of it is touched first in {}", brief_name(*frame, kNameWidth));
  return text;
}

// What the last lines of a report say to type.
std::vector<std::string> next_commands(const GrowthReport& growth) {
  std::vector<std::string> commands;
  for (const model::GrowthProcess& process : growth.processes) {
    if (commands.size() == kMostCommands || process.growth_bytes() <= 0) break;
    commands.push_back(fmt::format("tidemark trace -p {} --for 1m", process.pid.value));
  }
  commands.emplace_back("tidemark trace --auto --for 5m");
  return commands;
}

}  // namespace

GrowthReport build_growth(const model::GrowthSnapshot& snapshot, const StackNames& names) {
  GrowthReport growth;
  growth.processes_watched = snapshot.processes_watched;
  growth.resident_error_bytes = snapshot.resident_error_bytes;
  growth.processes = snapshot.processes;
  growth.ended = snapshot.ended;
  std::unordered_map<model::Generation, const model::GrowthOwner*> owners;
  for (const model::GrowthOwner& owner : snapshot.owners) owners.emplace(owner.generation, &owner);
  Ends ends;
  for (const model::Stack& stack : snapshot.stacks) ends.emplace(stack.id, stack.end);
  for (const model::GrowthSite& site : snapshot.call_sites) {
    GrowthSiteRow row = row_of(site, names, ends);
    const auto owner = owners.find(site.owner);
    if (owner != owners.end()) {
      row.pid = owner->second->pid.value;
      row.comm = owner->second->comm;
      row.alive = owner->second->alive;
    }
    auto& rows = model::is_address_space(site.kind) ? growth.address_space : growth.call_sites;
    rows.push_back(std::move(row));
  }
  // Of who grows steadily first: what has just started touches more.
  std::set<int32_t> steady;
  for (const model::GrowthProcess& process : growth.processes) {
    if (process.trend && process.trend->steady) steady.insert(process.pid.value);
  }
  for (auto* rows : {&growth.call_sites, &growth.address_space}) {
    std::ranges::stable_partition(
        *rows, [&](const GrowthSiteRow& row) { return row.alive && steady.contains(row.pid); });
  }
  return growth;
}

std::vector<model::Finding> growth_findings(const GrowthReport& growth) {
  std::vector<const model::GrowthProcess*> steady;
  for (const model::GrowthProcess& process : growth.processes) {
    if (process.trend && process.trend->steady) steady.push_back(&process);
  }
  std::ranges::sort(steady, std::ranges::greater(), [](const model::GrowthProcess* process) {
    return process->trend->bytes_per_s;
  });
  std::vector<model::Finding> findings;
  for (const model::GrowthProcess* process : steady) {
    model::Finding finding;
    finding.severity = model::Severity::kSuspect;
    finding.area = "growth";
    finding.what = fmt::format("pid {} ({}) grows steadily: {} a minute", process->pid.value,
                               printable(process->comm), per_minute(process->trend->bytes_per_s));
    finding.evidence = evidence_of(*process, growth);
    finding.next =
        fmt::format("which call sites keep it: tidemark trace -p {} --for 1m", process->pid.value);
    findings.push_back(std::move(finding));
  }
  return findings;
}

void add_growth(TraceReport& report, const model::GrowthSnapshot& snapshot,
                const StackNames& names) {
  report.growth = build_growth(snapshot, names);
  std::ranges::copy(snapshot.coverage, std::back_inserter(report.coverage));
  std::ranges::copy(snapshot.counters, std::back_inserter(report.counters));
  std::ranges::move(growth_findings(*report.growth), std::back_inserter(report.verdicts));
  if (!report.targets.empty()) return;
  report.empty_because =
      "no process has grown steadily yet, so none was traced: a longer watch tells more";
}

TraceReport build_growth_report(const model::GrowthSnapshot& snapshot, const StackNames& names,
                                const BuildInfo& info) {
  TraceReport report;
  report.tool_version = info.tool_version;
  report.kernel_release = info.kernel_release;
  report.mode = info.mode;
  report.mode.exact = false;
  report.started_unix_ns = snapshot.started_unix_ns;
  report.duration_ns = snapshot.taken_ns - std::min(snapshot.taken_ns, snapshot.started_ns);
  report.coverage = snapshot.coverage;
  report.counters = snapshot.counters;
  report.growth = build_growth(snapshot, names);
  report.growth->alone = true;
  report.verdicts = growth_findings(*report.growth);
  report.next_commands = next_commands(*report.growth);
  return report;
}

}  // namespace tidemark::report
