// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "report/memory_diff_report.h"
#include "report/names.h"
#include "report/page.h"
#include "support/units.h"

namespace tidemark::report {
namespace {

std::string elapsed_text(const model::MemoryDiff& diff) {
  if (diff.after_unix_ns < diff.before_unix_ns) return "a time that ran backwards";
  return format_duration(
      Nanoseconds(static_cast<int64_t>(diff.after_unix_ns - diff.before_unix_ns)));
}

std::string rate_text(const model::Growth& growth) {
  if (!growth.bytes_per_hour) return "-";
  constexpr double kMost = 9e18;
  const double rate = std::clamp(*growth.bytes_per_hour, -kMost, kMost);
  return format_bytes_change(static_cast<int64_t>(rate)) + "/h";
}

std::string left_text(const model::Growth& growth) {
  if (!growth.time_left_ns) return "-";
  return format_duration(Nanoseconds(static_cast<int64_t>(*growth.time_left_ns)));
}

void write_row(Page& page, const model::Growth& growth) {
  page.line(fmt::format("  {:>11} {:>11} {:>11} {:>14} {:>8}  {:<8} {}",
                        format_bytes_change(growth.change_bytes), format_bytes(growth.before_bytes),
                        format_bytes(growth.after_bytes), rate_text(growth), left_text(growth),
                        growth.area, printable(growth.name)));
}

}  // namespace

std::string write_diff_text(const model::MemoryDiff& diff, const MemoryTextOptions& options) {
  Page page(options.color);
  std::string head = fmt::format("over {}", elapsed_text(diff));
  if (diff.available_change_bytes) {
    head += fmt::format("; MemAvailable {}", format_bytes_change(*diff.available_change_bytes));
  }
  page.labelled("compared", head, Dress::kBold);
  page.line("");
  if (diff.rows.empty()) page.line("  nothing changed");
  const auto shrank = std::ranges::find_if(
      diff.rows, [](const model::Growth& growth) { return growth.change_bytes < 0; });
  if (!diff.rows.empty()) {
    page.line("       change      before       after           rate     left  area     name",
              Dress::kBold);
  }
  std::size_t shown = 0;
  for (auto row = diff.rows.begin(); row != shrank && shown < options.top; ++row, ++shown) {
    write_row(page, *row);
  }
  shown = 0;
  for (auto row = diff.rows.rbegin(); row.base() != shrank && shown < options.top; ++row, ++shown) {
    write_row(page, *row);
  }
  if (!diff.passing.empty()) {
    page.line("");
    page.line("Processes that came and went in between", Dress::kBold);
  }
  for (std::size_t at = 0; at < std::min(diff.passing.size(), options.top); ++at) {
    const model::Passing& one = diff.passing[at];
    const std::string count = one.count > 1 ? fmt::format(", {} of them", one.count) : "";
    page.line(fmt::format("  {:>11} at most  {}{}",
                          one.peak_bytes ? format_bytes(*one.peak_bytes) : "unknown",
                          printable(one.name), count));
  }
  return std::move(page).finish();
}

}  // namespace tidemark::report
