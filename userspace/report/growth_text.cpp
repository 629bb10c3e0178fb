// SPDX-License-Identifier: Apache-2.0
//
// The text of growth: who grew, how fast, and where.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "report/names.h"
#include "report/trace_parts.h"
#include "support/units.h"

namespace tidemark::report {
namespace {

constexpr std::string_view kIndent = "        ";
constexpr std::size_t kMostEnded = 3;
constexpr std::size_t kMostSpaceSites = 3;

std::string rate_text(const model::GrowthProcess& process) {
  if (!process.trend) return "-";
  const auto size = [](double bytes_per_s) {
    return format_bytes_change(static_cast<int64_t>(60 * bytes_per_s));
  };
  return fmt::format("{} ({}..{})", size(process.trend->bytes_per_s), size(process.trend->low),
                     size(process.trend->high));
}

std::string marks_of(const model::GrowthProcess& process) {
  std::string marks;
  if (process.trend && process.trend->steady) marks += " steady";
  if (process.started_meanwhile) marks += " new";
  return marks;
}

void write_sums(Page& page, const GrowthReport& growth) {
  int64_t grown = 0;
  int64_t shrunk = 0;
  uint64_t growing = 0;
  for (const model::GrowthProcess& process : growth.processes) {
    const int64_t bytes = process.growth_bytes();
    growing += bytes > 0 ? 1 : 0;
    (bytes > 0 ? grown : shrunk) += bytes;
  }
  const std::string error = growth.resident_error_bytes == 0
                                ? "to the page"
                                : fmt::format("to {}", format_bytes(growth.resident_error_bytes));
  page.labelled("growth", fmt::format("{} of {} processes grew by {}, others shrank by {}; sizes "
                                      "are right {}",
                                      count_text(growing), count_text(growth.processes_watched),
                                      format_bytes(static_cast<uint64_t>(grown)),
                                      format_bytes(static_cast<uint64_t>(-shrunk)), error));
  std::size_t shown = 0;
  for (const model::EndedProcesses& ended : growth.ended) {
    if (shown++ == kMostEnded) break;
    page.labelled(shown == 1 ? "ended" : "",
                  fmt::format("{} of {}, which had touched {}", count_text(ended.count),
                              printable(ended.comm), format_bytes(ended.touched_bytes)));
  }
  if (growth.ended.size() > kMostEnded)
    page.labelled("", fmt::format("and those of {} more names", growth.ended.size() - kMostEnded));
}

void write_processes(Page& page, const GrowthReport& growth, std::size_t top) {
  std::size_t shown = 0;
  std::size_t hidden = 0;
  for (const model::GrowthProcess& process : growth.processes) {
    if (process.growth_bytes() == 0) continue;
    if (shown == top) {
      ++hidden;
      continue;
    }
    if (shown++ == 0) {
      page.line("");
      page.line(fmt::format("{:>10} {:>11} {:>10} {:>10} {:>9}  {:<36} {}", "growth", "resident",
                            "touched", "heap", "faults", "per minute (95 %)", "process"),
                Dress::kBold);
    }
    const std::string heap =
        process.heap_growth_bytes ? format_bytes_change(*process.heap_growth_bytes) : "-";
    page.line(
        fmt::format(
            "{:>10} {:>11} {:>10} {:>10} {:>9}  {:<36} {} ({}){}",
            format_bytes_change(process.growth_bytes()),
            format_bytes(process.last.resident_bytes()),
            process.touched_bytes ? format_bytes(*process.touched_bytes) : "-", heap,
            process.faults ? count_text(process.faults->minor + process.faults->major) : "-",
            rate_text(process), process.pid.value, printable(process.comm), marks_of(process)),
        process.trend && process.trend->steady ? Dress::kBold : Dress::kPlain);
  }
  if (hidden > 0)
    page.line(fmt::format("not shown: {} more process{} (--top {} shows them)", hidden,
                          hidden == 1 ? "" : "es", hidden + top));
}

std::string whose(const GrowthSiteRow& row) {
  std::string text = fmt::format("{} ({})", printable(row.comm), row.pid);
  if (!row.alive) text += ", gone";
  if (row.kind == model::GrowthKind::kShared) text += ", shared memory";
  if (row.kind == model::GrowthKind::kBrk) text += ", by brk";
  if (row.kind == model::GrowthKind::kMmap) text += ", by mmap";
  if (!model::is_address_space(row.kind) && row.in_syscall)
    text += ", by the kernel in a system call";
  return text;
}

void write_stack(Page& page, const GrowthSiteRow& row) {
  for (const model::Frame& frame : row.frames) page.line(std::string(kIndent) + frame_text(frame));
  if (row.stack != StackState::kWhole)
    page.line(fmt::format("{}({})", kIndent, printable(row.stack_note.value_or("stack lost"))));
}

void write_site(Page& page, const GrowthSiteRow& row, std::size_t rank) {
  page.line(fmt::format("{:>6} {:>10} {:>12} {:>10} {:>12} {:>8}  {}", fmt::format("#{}", rank),
                        row.kept_bytes ? format_bytes(*row.kept_bytes) : "unknown",
                        row.kept_bytes_error ? "+/- " + format_bytes(*row.kept_bytes_error) : "",
                        format_bytes(row.touched_bytes),
                        "+/- " + format_bytes(row.touched_bytes_error), count_text(row.samples),
                        whose(row)));
  write_stack(page, row);
}

void write_sites(Page& page, const GrowthReport& growth, std::size_t top) {
  std::size_t rank = 0;
  for (const GrowthSiteRow& row : growth.call_sites) {
    if (rank == top) break;
    page.line("");
    if (rank++ == 0)
      page.line(fmt::format("{:>6} {:>10} {:>12} {:>10} {:>12} {:>8}  {}", "site", "kept", "95 %",
                            "touched", "95 %", "samples", "process"),
                Dress::kBold);
    write_site(page, row, rank);
  }
  if (growth.call_sites.size() > top) {
    page.line("");
    page.line(fmt::format("not shown: {} more call sites (--top {} shows them)",
                          growth.call_sites.size() - top, growth.call_sites.size()));
  }
}

// Of who takes address space the first few: what of it is used is said above.
void write_address_space(Page& page, const GrowthReport& growth, std::size_t top) {
  const std::size_t most = std::min(top, kMostSpaceSites);
  std::size_t rank = 0;
  for (const GrowthSiteRow& row : growth.address_space) {
    if (rank == most) break;
    page.line("");
    if (rank++ == 0)
      page.line(fmt::format("{:>6} {:>10} {:>12} {:>8}  {}", "space", "gained", "95 %", "samples",
                            "process, by what"),
                Dress::kBold);
    page.line(fmt::format(
        "{:>6} {:>10} {:>12} {:>8}  {}", fmt::format("#{}", rank), format_bytes(row.touched_bytes),
        "+/- " + format_bytes(row.touched_bytes_error), count_text(row.samples), whose(row)));
    write_stack(page, row);
  }
  if (growth.address_space.size() > most) {
    page.line("");
    page.line(fmt::format("not shown: {} more call sites that took address space (JSON has them)",
                          growth.address_space.size() - most));
  }
}

}  // namespace

void write_growth(Page& page, const GrowthReport& growth, const TextOptions& options) {
  write_sums(page, growth);
  write_processes(page, growth, options.top);
  write_sites(page, growth, options.top);
  write_address_space(page, growth, options.top);
}

void write_growth_report(Page& page, const TraceReport& report, const TextOptions& options) {
  page.labelled(
      "watched",
      fmt::format("{} processes for {}, growth only", count_text(report.growth->processes_watched),
                  duration_text(report.duration_ns)),
      Dress::kBold);
  write_coverage(page, report);
  write_counters(page, report, model::CounterKind::kLoss, "lost", Dress::kRed);
  write_counters(page, report, model::CounterKind::kNote, "notes", Dress::kPlain);
  write_sums(page, *report.growth);
  write_verdicts(page, report, options);
  write_processes(page, *report.growth, options.top);
  write_sites(page, *report.growth, options.top);
  write_address_space(page, *report.growth, options.top);
  write_next(page, report, options);
}

}  // namespace tidemark::report
