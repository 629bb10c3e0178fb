// SPDX-License-Identifier: Apache-2.0
#include "report/kernel_report.h"

#include <fmt/format.h>

#include <utility>

#include "report/kernel_refills.h"
#include "report/names.h"
#include "support/units.h"

namespace tidemark::report {
namespace {

// What stands for the stack of a call site, where it is less than the whole truth.
void note_stack(CallSiteRow& row, const model::KernelSnapshot& snapshot) {
  if (row.stack == StackState::kLost) {
    row.stack_note = "no stack was taken: --stacks always takes it from the start";
    return;
  }
  const auto others = snapshot.other_stacks.find(row.stack_id);
  const auto since = snapshot.stacks_since_ns.find(row.stack_id);
  std::string note;
  if (since != snapshot.stacks_since_ns.end()) {
    const uint64_t ns = since->second - std::min(since->second, snapshot.trace.started_ns);
    note = fmt::format("it grew, so stacks are taken since {} after the start",
                       format_duration(Nanoseconds(static_cast<int64_t>(ns))));
  }
  if (others != snapshot.other_stacks.end()) {
    note += fmt::format("{}the stack that holds most of {}", note.empty() ? "" : "; ",
                        others->second + 1);
    row.stack = StackState::kCut;
  }
  if (row.frames.size() == 1 && row.stack == StackState::kCut && note.empty())
    note = "the caller only: --stacks always takes whole stacks from the start";
  if (!note.empty()) row.stack_note = note;
}

std::vector<std::string> next_commands(const TraceReport& trace) {
  std::vector<std::string> commands;
  for (const CallSiteRow& row : trace.call_sites) {
    if (!row.suspect || !row.cache) continue;
    commands.push_back(
        fmt::format("tidemark kernel --cache {} --stacks always --for 1m", printable(*row.cache)));
    break;
  }
  commands.emplace_back("tidemark kernel --for 5m --every 30s");
  commands.emplace_back("tidemark report");
  return commands;
}

}  // namespace

std::string_view record_source_name(model::RecordSource source) {
  switch (source) {
    case model::RecordSource::kAllocinfo:
      return "allocinfo";
    case model::RecordSource::kPageOwner:
      return "page_owner";
    case model::RecordSource::kAllocTraces:
      return "alloc_traces";
  }
  return "";
}

KernelReport build_kernel_report(const model::KernelSnapshot& snapshot,
                                 const std::vector<model::Finding>& findings,
                                 const StackNames& names, const model::KernelSnapshot* previous,
                                 const BuildInfo& info, std::string what) {
  KernelReport report;
  report.trace = build_trace_report(snapshot.trace, findings, names,
                                    previous != nullptr ? &previous->trace : nullptr, info);
  for (CallSiteRow& row : report.trace.call_sites) {
    if (row.cache) {
      const auto aliases = snapshot.aliases.find(*row.cache);
      if (aliases != snapshot.aliases.end()) row.aliases = aliases->second;
    }
    if (row.kind == model::Kind::kPage) row.refill = refill_of(row.frames);
    note_stack(row, snapshot);
  }
  report.trace.next_commands = next_commands(report.trace);
  if (report.trace.totals.total_count == 0) {
    report.trace.empty_because =
        "no allocation was seen: the kernel was idle, or --cache leaves everything out";
  }
  report.what = std::move(what);
  report.reconcile = snapshot.reconcile;
  return report;
}

}  // namespace tidemark::report
