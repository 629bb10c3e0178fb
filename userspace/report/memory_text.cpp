// SPDX-License-Identifier: Apache-2.0
//
// The text of `tidemark report`, from the top down: what can be relied on, a bar of where the
// memory is, the verdicts, then a table for each area.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <map>

#include "report/memory_report.h"
#include "report/memory_tables.h"
#include "report/names.h"
#include "report/page.h"
#include "support/units.h"

namespace tidemark::report {
namespace {

constexpr std::size_t kBarWidth = 80;

// A slice of the bar. Categories that belong together are one slice; a category that stands in none
// is in "other".
struct Slice {
  char mark;
  std::string_view name;
  std::vector<std::string_view> categories;
  int64_t bytes = 0;
};

std::vector<Slice> slices_of(const model::Attribution& attribution) {
  std::vector<Slice> slices = {
      {'.', "free", {"free", "percpu_free_lists"}, 0},
      {'c', "file cache", {"file_cache"}, 0},
      {'a', "anonymous", {"anonymous"}, 0},
      {'s', "shared memory", {"shmem"}, 0},
      {'K', "slab", {"slab_reclaimable", "slab_unreclaimable"}, 0},
      {'V', "vmalloc", {"vmalloc"}, 0},
      {'H', "huge pages", {"hugetlb"}, 0},
      {'o', "other", {}, 0},
      {'?', "ghost", {}, 0},
  };
  Slice& other = slices[slices.size() - 2];
  for (const model::AttributionRow& row : attribution.rows) {
    const auto slice = std::ranges::find_if(slices, [&](const Slice& candidate) {
      return std::ranges::find(candidate.categories, row.category) != candidate.categories.end();
    });
    (slice == slices.end() ? other : *slice).bytes += std::max<int64_t>(row.bytes.value_or(0), 0);
  }
  slices.back().bytes = static_cast<int64_t>(attribution.ghost.bytes.value_or(0));
  return slices;
}

// Each slice gets the marks between the rounded ends of what comes before it and of itself, so that
// the bar is never too long; what is there but smaller than a mark is in the legend only.
void write_bar(Page& page, const MemoryReport& report) {
  const auto total = report.attribution.mem_total_bytes;
  if (!total || *total == 0 || report.attribution.rows.empty()) return;
  std::string bar;
  std::string legend;
  double sum = 0;
  for (const Slice& slice : slices_of(report.attribution)) {
    if (slice.bytes == 0) continue;
    sum += static_cast<double>(slice.bytes);
    const auto end = static_cast<std::size_t>(sum / static_cast<double>(*total) * kBarWidth + 0.5);
    while (bar.size() < std::min(end, kBarWidth)) bar += slice.mark;
    legend += fmt::format("{}{} {} {}", legend.empty() ? "" : ",  ", slice.mark, slice.name,
                          format_bytes(static_cast<uint64_t>(slice.bytes)));
  }
  page.line("");
  page.line(fmt::format("  [{:<{}}]", bar, kBarWidth));
  page.labelled("", legend);
}

std::string time_text(uint64_t unix_ns) {
  const auto seconds = static_cast<std::time_t>(unix_ns / 1'000'000'000);
  std::tm utc{};
  if (::gmtime_r(&seconds, &utc) == nullptr) return "unknown time";
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

void write_head(Page& page, const MemoryReport& report) {
  const auto size = [](const std::optional<uint64_t>& bytes) {
    return bytes ? format_bytes(*bytes) : std::string("unknown");
  };
  page.labelled(
      "memory",
      fmt::format("{} in all, {} available; Linux {}, {}", size(report.attribution.mem_total_bytes),
                  size(report.mem_available_bytes), printable(report.kernel_release),
                  time_text(report.taken_unix_ns)),
      Dress::kBold);
}

void write_coverage(Page& page, const MemoryReport& report) {
  std::map<std::string, std::string> problems;
  std::size_t on = 0;
  for (const model::Coverage& row : report.coverage) {
    const bool is_on = row.state == model::HookState::kOn;
    on += is_on ? 1 : 0;
    if (is_on && !row.reason) continue;
    std::string& names = problems[printable(row.reason.value_or("reason unknown"))];
    names += (names.empty() ? "" : ", ") + printable(row.hook);
  }
  page.labelled("coverage", fmt::format("{} of {} sources read", on, report.coverage.size()));
  for (const auto& [reason, names] : problems) {
    page.labelled("", fmt::format("{}: {}", names, reason));
  }
}

void write_ghost_line(Page& page, const MemoryReport& report) {
  const model::Ghost& ghost = report.attribution.ghost;
  if (!ghost.bytes || !ghost.error_bytes) {
    return page.labelled(
        "ghost", fmt::format("unknown: {}", printable(ghost.unknown_because.value_or("not read"))));
  }
  if (*ghost.bytes == 0) {
    return page.labelled("ghost", fmt::format("none that is larger than the error of {}",
                                              format_bytes(*ghost.error_bytes)));
  }
  page.labelled("ghost",
                fmt::format("{} +/- {} are in no line of meminfo; {} of it explained",
                            format_bytes(*ghost.bytes), format_bytes(*ghost.error_bytes),
                            format_bytes(*ghost.bytes - ghost.unexplained_bytes.value_or(0))));
}

void write_verdicts(Page& page, const MemoryReport& report, const MemoryTextOptions& options) {
  for (const model::Finding& finding : report.verdicts) {
    write_finding(page, finding, options.explain);
  }
}

void write_attribution_table(Page& page, const MemoryReport& report) {
  if (report.attribution.rows.empty()) return;
  page.line("");
  page.line("Every byte of MemTotal once", Dress::kBold);
  std::string empty;
  for (const model::AttributionRow& row : report.attribution.rows) {
    if (row.bytes == 0) {
      empty += fmt::format("{}{}", empty.empty() ? "" : ", ", row.category);
      continue;
    }
    const std::string bytes =
        !row.bytes ? "unknown"
                   : (*row.bytes < 0 ? format_bytes_change(*row.bytes)
                                     : format_bytes(static_cast<uint64_t>(*row.bytes)));
    page.line(fmt::format("  {:>11}  {:<22} {}", bytes, row.category, row.source));
  }
  if (!empty.empty()) page.labelled("          0 B  ", empty);
  const auto& ghost = report.attribution.ghost.bytes;
  page.line(fmt::format("  {:>11}  {:<22} {}", ghost ? format_bytes(*ghost) : "unknown", "ghost",
                        "the rest"));
}

}  // namespace

std::string write_memory_text(const MemoryReport& report, const MemoryTextOptions& options) {
  Page page(options.color);
  write_head(page, report);
  write_coverage(page, report);
  write_ghost_line(page, report);
  write_bar(page, report);
  write_verdicts(page, report, options);
  write_attribution_table(page, report);
  write_ghost_table(page, report, options);
  write_process_table(page, report, options);
  write_passed_table(page, report, options);
  write_slab_table(page, report, options);
  write_vmalloc_table(page, report, options);
  write_bpf_map_table(page, report, options);
  write_socket_table(page, report, options);
  write_shmem_table(page, report, options);
  write_cgroup_table(page, report, options);
  write_swap_table(page, report, options);
  if (options.explain) write_formula(page, report);
  return std::move(page).finish();
}

}  // namespace tidemark::report
