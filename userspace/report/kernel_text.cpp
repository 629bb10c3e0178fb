// SPDX-License-Identifier: Apache-2.0
//
// The text of `tidemark kernel`: as of a trace, and between the sums and the call sites our count
// of each cache beside the kernel's own.
#include <fmt/format.h>

#include "report/kernel_report.h"
#include "report/names.h"
#include "report/trace_parts.h"
#include "support/units.h"

namespace tidemark::report {
namespace {

std::string signed_count(int64_t count) {
  const auto magnitude = static_cast<uint64_t>(count < 0 ? -count : count);
  return fmt::format("{}{}", count < 0 ? "-" : "+", count_text(magnitude));
}

std::string or_unknown(const std::optional<int64_t>& count) {
  return count ? signed_count(*count) : "unknown";
}

std::string trust_text(const model::Reconciled& row) {
  return row.trust ? fmt::format("{:.1f} %", 100.0 * *row.trust) : "-";
}

std::string row_name(const model::Reconciled& row) {
  if (row.kind == model::Kind::kPage) return "all pages";
  std::string name = printable(row.cache);
  if (row.aliases.size() > 1) name += fmt::format(" ({} names)", row.aliases.size());
  return name;
}

// Where the two differ most, first.
void write_reconcile(Page& page, const KernelReport& report, const TextOptions& options) {
  if (report.reconcile.empty()) return;
  page.line("");
  page.line(
      fmt::format("{:>10} {:>10} {:>10} {:>8} {:>8} {:>8}  {}", "gained", "kernel's", "unseen",
                  "missed", "dropped", "trust", "cache: objects, by us and by the kernel"),
      Dress::kBold);
  std::size_t shown = 0;
  for (const model::Reconciled& row : report.reconcile) {
    if (shown++ == options.top) break;
    page.line(fmt::format("{:>10} {:>10} {:>10} {:>8} {:>8} {:>8}  {}",
                          signed_count(row.gained_live_count), or_unknown(row.gained_kernel_count),
                          or_unknown(row.unseen()), count_text(row.missed_frees),
                          count_text(row.dropped_by_verification), trust_text(row), row_name(row)));
  }
  if (report.reconcile.size() > options.top) {
    page.line(fmt::format("not shown: {} more caches (--top {} shows them)",
                          report.reconcile.size() - options.top, report.reconcile.size()));
  }
}

// What was there before we came, by the kernel's own books.
void write_older(Page& page, const KernelReport& report, const TextOptions& options) {
  if (report.older.empty()) return;
  page.line("");
  page.line(fmt::format("{:>10} {:>11}  {}", "live", "objects",
                        "older than the trace, as the kernel itself has kept it"),
            Dress::kBold);
  std::size_t shown = 0;
  for (const model::KernelRecord& record : report.older) {
    if (shown++ == options.top) break;
    std::string place = printable(record.function);
    if (!record.module.empty()) place += " ([" + printable(record.module) + "])";
    if (record.file)
      place += fmt::format(" {}:{}", printable(*record.file), record.line.value_or(0));
    if (!record.cache.empty()) place += " in " + printable(record.cache);
    page.line(fmt::format("{:>10} {:>11}  {} ({})",
                          record.bytes ? format_bytes(*record.bytes) : "-",
                          count_text(record.count), place, record_source_name(record.source)));
  }
  if (report.older.size() > options.top)
    page.line(fmt::format("not shown: {} more places", report.older.size() - options.top));
}

}  // namespace

std::string write_kernel_text(const KernelReport& report, const TextOptions& options) {
  const TraceReport& trace = report.trace;
  Page page(options.color);
  page.labelled(
      "traced",
      fmt::format("the kernel's {} for {}", report.what, duration_text(trace.duration_ns)),
      Dress::kBold);
  write_coverage(page, trace);
  write_counters(page, trace, model::CounterKind::kLoss, "lost", Dress::kRed);
  write_counters(page, trace, model::CounterKind::kNote, "notes", Dress::kPlain);
  write_totals(page, trace);
  write_verdicts(page, trace, options);
  if (trace.empty_because) {
    page.line("");
    page.labelled("empty", printable(*trace.empty_because), Dress::kBold);
  }
  write_reconcile(page, report, options);
  write_older(page, report, options);
  write_call_sites(page, trace, options);
  write_next(page, trace, options);
  return std::move(page).finish();
}

}  // namespace tidemark::report
