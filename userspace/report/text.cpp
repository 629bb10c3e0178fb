// SPDX-License-Identifier: Apache-2.0
//
// Text: what a tired person reads at 3 a.m., at most about 100 columns wide. First what can be
// relied on (coverage, losses), then the sums, then who is suspected, then the stacks.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "report/audit.h"
#include "report/gfp_flags.h"
#include "report/kernel_owners.h"
#include "report/mappings.h"
#include "report/names.h"
#include "report/reporters.h"
#include "report/trace_parts.h"
#include "support/units.h"

namespace tidemark::report {
namespace {

constexpr std::size_t kFrameIndent = 8;
constexpr std::size_t kMostTargets = 8;

std::string percent_text(uint64_t part, uint64_t whole) {
  if (whole == 0) return "-";
  return fmt::format("{:.1f} %", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

// --- head: what was traced, and how far it can be relied on

std::string target_name(const model::Target& target) {
  std::string name = fmt::format("pid {} ({})", target.pid.value, printable(target.comm));
  if (target.alive) return name;
  if (target.exit_code) return name + fmt::format(", exited with {}", *target.exit_code);
  return name + ", gone";
}

std::string exactness(const Mode& mode) {
  if (mode.exact) return "exact";
  if (!mode.sampling_interval_bytes) return "with losses";
  return fmt::format("sampled every {}", format_bytes(*mode.sampling_interval_bytes));
}

std::string target_line(const model::Target& target) {
  std::string text = target_name(target) + ":";
  for (const model::AllocatorUse& use : target.allocators) {
    text += fmt::format(" {} {} probe{}", printable(use.name), use.probes, plural(use.probes));
    if (use.hits) text += fmt::format(", {} hit{}", count_text(*use.hits), plural(*use.hits));
    text += ";";
  }
  if (target.allocators.empty()) text += " no known allocator;";
  const auto size = [](const std::optional<uint64_t>& bytes) {
    return bytes ? format_bytes(*bytes) : std::string("unknown");
  };
  return text + fmt::format(" RssAnon {} -> {}", size(target.rss_anon_start_bytes),
                            size(target.rss_anon_end_bytes));
}

void write_targets(Page& page, const TraceReport& report) {
  const std::string manner =
      fmt::format("for {}, {}", duration_text(report.duration_ns), exactness(report.mode));
  if (report.targets.size() == 1) {
    return page.labelled(
        "traced", fmt::format("{} {}", target_name(report.targets.front()), manner), Dress::kBold);
  }
  page.labelled("traced", fmt::format("{} targets {}", report.targets.size(), manner),
                Dress::kBold);
  const std::size_t shown = std::min(report.targets.size(), kMostTargets);
  for (std::size_t at = 0; at < shown; ++at) page.labelled("", target_line(report.targets[at]));
  if (shown < report.targets.size()) {
    page.labelled("", fmt::format("and {} more", report.targets.size() - shown));
  }
}

void write_budget(Page& page, const Mode& mode, const std::optional<model::WindowFacts>& windows) {
  if (!mode.budget_percent || !mode.budget) return;
  const model::GovernorAccount& account = *mode.budget;
  const uint64_t all_ns = account.exact_ns + account.sampled_ns + account.paused_ns;
  const auto of_time = [all_ns](uint64_t ns) {
    return all_ns == 0 ? 0 : 100 * static_cast<double>(ns) / static_cast<double>(all_ns);
  };
  const bool idle = of_time(account.own_ns) < 100 * model::kLeastUse;
  std::string text =
      idle ? fmt::format(
                 "tracing took {:.2f} % of a processor, {:.2f} % allowed; the target uses "
                 "{:.2f} %",
                 of_time(account.extra_ns), model::kLeastUse * *mode.budget_percent,
                 of_time(account.own_ns))
           : fmt::format("tracing took {:.1f} % of the target's CPU time, {:g} % allowed",
                         100 * account.share(), *mode.budget_percent);
  if (account.worst_share && !idle)
    text += fmt::format("; {:.1f} % in the worst 10 s", 100 * *account.worst_share);
  if (account.paused_ns > 0)
    text += fmt::format("; probes were there {:.1f} % of the time", 100 * mode.duty_ratio);
  if (windows) text += fmt::format(", in {} windows", windows->windows.size());
  if (windows && !windows->too_few.empty()) text += "; no estimates yet: " + windows->too_few;
  page.labelled("budget", text);
}

// --- sums

// " +/- 1.2 MiB" where blocks were sampled. What was lost has lines of its own.
std::string error_text(const Mode& mode, std::optional<uint64_t> error_bytes) {
  if (!mode.sampling_interval_bytes) return "";
  return " +/- " +
         (error_bytes ? format_bytes(*error_bytes) : "an unknown part, see what was lost");
}

void write_mappings(Page& page, const TraceReport& report) {
  if (report.mappings.live_count > 0) page.labelled("mappings", describe_sums(report.mappings));
  std::string_view label = "backing";
  for (const ApartRow& row : report.apart) {
    if (row.live_count > 0) page.labelled(std::exchange(label, ""), describe_apart(row));
  }
}

void write_explains(Page& page, const Explains& explains) {
  const std::string tracked = format_bytes_change(explains.tracked_growth_bytes).substr(1);
  std::string text;
  if (explains.ratio && explains.rss_anon_growth_bytes) {
    text = fmt::format("tracked growth {} explains {:.0f} % of RssAnon growth {}", tracked,
                       100.0 * *explains.ratio,
                       format_bytes_change(*explains.rss_anon_growth_bytes).substr(1));
  } else if (explains.rss_anon_growth_bytes) {
    text = fmt::format("tracked growth {}, while RssAnon did not grow ({})", tracked,
                       format_bytes_change(*explains.rss_anon_growth_bytes));
  } else {
    text = fmt::format("tracked growth {}; RssAnon growth unknown", tracked);
  }
  page.labelled("explains", text);
}

std::string describe_windows(const model::WindowFigures& figures) {
  const model::Estimate& leak = figures.estimate.leak_bytes_per_s;
  return fmt::format("allocates {}, keeps {} to {} of it (95 %)",
                     format_rate(figures.estimate.birth_bytes_per_s.value), format_rate(leak.low),
                     format_rate(leak.high));
}

// Two digits, since of a busy call site little may be much.
std::string share_text(double share) {
  const double percent = 100 * share;
  if (percent < 0.001) return "0";
  return percent < 10 ? fmt::format("{:.2g}", percent) : fmt::format("{:.0f}", percent);
}

// Of what is allocated, so much gets older than three of the ages that are told.
std::string describe_survival(const std::vector<model::SurvivalPoint>& curve) {
  std::string text;
  for (const std::size_t at : {curve.size() / 4, curve.size() / 2, curve.size() - 1}) {
    const model::SurvivalPoint& point = curve[at];
    text += fmt::format("{}{} to {} % {} {}", text.empty() ? "" : ", ", share_text(point.share.low),
                        share_text(point.share.high), text.empty() ? "gets older than" : "than",
                        duration_text(static_cast<uint64_t>(point.age_ns)));
  }
  return text + " (95 %)";
}

// --- call sites

// A merged cache is never called by one of its names alone.
std::string cache_text(const CallSiteRow& row) {
  std::string text = printable(*row.cache);
  std::size_t others = 0;
  for (const std::string& alias : row.aliases) {
    if (alias == *row.cache) continue;
    text += fmt::format("{}{}", others++ == 0 ? " (merged with " : ", ", printable(alias));
  }
  return others == 0 ? text : text + ")";
}

// Whose call site, where that is not the same for all of them.
std::string whose(const CallSiteRow& row, bool many_owners) {
  std::string text;
  if (many_owners && row.comm) {
    text = printable(*row.comm) + (row.pid ? fmt::format(" ({})", *row.pid) : " (several)");
  }
  if (row.kind != model::Kind::kHeap) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ",
                        row.kind == model::Kind::kMapping ? describe_mapping(row)
                                                          : std::string(kind_name(row.kind)));
  }
  if (row.cache) text += " " + cache_text(row);
  if (row.order) text += fmt::format(" of order {}", *row.order);
  if (row.gfp_flags) text += ", " + gfp_words(*row.gfp_flags);
  if (many_owners && row.allocator && row.kind == model::Kind::kHeap) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ", printable(*row.allocator));
  }
  return text;
}

std::string age_span(const CallSiteRow& row) {
  if (!row.oldest_age_ns) return "-";
  const std::string oldest = duration_text(*row.oldest_age_ns);
  const std::string youngest = row.youngest_age_ns ? duration_text(*row.youngest_age_ns) : oldest;
  return oldest == youngest ? oldest : oldest + ".." + youngest;
}

void write_call_site(Page& page, const TraceReport& report, const CallSiteRow& row,
                     std::size_t rank) {
  const std::string change =
      row.live_bytes_change ? format_bytes_change(*row.live_bytes_change) : "";
  std::string head = fmt::format(
      "{:>6} {:>10} {:>8} {:>11} {:>17} {:>11} {:>11}  {}", fmt::format("#{}", rank),
      format_bytes(row.live_bytes), percent_text(row.live_bytes, report.totals.live_bytes),
      count_text(row.live_count), age_span(row), count_text(row.total_count),
      count_text(row.total_count - row.live_count), change);
  head.erase(head.find_last_not_of(' ') + 1);
  page.line(head, row.suspect ? Dress::kBold : Dress::kPlain);
  const std::string indent(kFrameIndent, ' ');
  const std::string owner = whose(row, report.targets.size() > 1);
  const std::string error = error_text(report.mode, row.live_bytes_error);
  if (!error.empty() && row.kind == model::Kind::kHeap)
    page.line(fmt::format("{}live{} (95 %)", indent, error));
  if (!owner.empty()) page.line(fmt::format("{}in {}", indent, owner));
  for (const std::string& line : owner_lines(row)) page.line(indent + line);
  if (row.windowed) {
    page.line(indent + describe_windows(*row.windowed));
    const auto& curve = row.windowed->estimate.survival;
    if (!curve.empty()) page.line(indent + describe_survival(curve));
  }
  if (row.audit) page.line(fmt::format("{}audit {}", indent, describe_audit(*row.audit)));
  for (const model::Frame& frame : row.frames) page.line(indent + frame_text(frame));
  if (row.stack != StackState::kWhole) {
    const std::string why = row.stack == StackState::kLost ? "stack lost: table full" : "stack cut";
    page.line(fmt::format("{}({})", indent, printable(row.stack_note.value_or(why))),
              row.stack == StackState::kLost ? Dress::kRed : Dress::kPlain);
  }
}

// Why rows are not on the page; the JSON holds them all.
struct Hidden {
  std::size_t below_top = 0;
  uint64_t below_top_bytes = 0;
  std::size_t young = 0;
  uint64_t young_bytes = 0;
  std::size_t empty = 0;
};

void write_hidden(Page& page, const Hidden& hidden, const TextOptions& options) {
  if (hidden.below_top > 0) {
    page.line(fmt::format("not shown: {} more call site{} with {} live (--top {} shows them)",
                          hidden.below_top, plural(hidden.below_top),
                          format_bytes(hidden.below_top_bytes), hidden.below_top + options.top));
  }
  if (hidden.young > 0) {
    page.line(fmt::format("not shown: {} call site{} with {} live, no block older than {}",
                          hidden.young, plural(hidden.young), format_bytes(hidden.young_bytes),
                          duration_text(options.min_age_ns)));
  }
  if (hidden.empty > 0) {
    page.line(fmt::format("not shown: {} call site{} that freed everything", hidden.empty,
                          plural(hidden.empty)));
  }
}

}  // namespace

std::string frame_text(const model::Frame& frame) {
  std::string place = frame.inlined ? " (inlined)" : "";
  if (frame.file) {
    const auto file = base_name(*frame.file);
    place +=
        frame.line ? fmt::format(" {}:{}", printable(file), *frame.line) : " " + printable(file);
  }
  if (!frame.function) return unnamed(frame) + place;
  const std::string offset =
      frame.function_offset ? fmt::format("+{:#x}", *frame.function_offset) : "";
  const std::string module =
      frame.module.empty() ? "" : fmt::format(" ({})", printable(base_name(frame.module)));
  const std::size_t around = kFrameIndent + offset.size() + module.size() + place.size();
  const std::size_t room = around + 24 < kPageWidth ? kPageWidth - around : 24;
  return shorten_name(printable(*frame.function), room) + offset + module + place;
}

std::string duration_text(uint64_t ns) {
  return format_duration(Nanoseconds(static_cast<int64_t>(std::min<uint64_t>(ns, INT64_MAX))));
}

// For a column: what no longer fits is rounded.
std::string count_text(uint64_t count) {
  if (count < 10'000'000'000) return format_count(count);
  return fmt::format("{:.2e}", static_cast<double>(count));
}

// One line when all is well; otherwise every problem, hooks with the same reason in one.
void write_coverage(Page& page, const TraceReport& report) {
  std::map<std::pair<std::string, std::string>, std::string> problems;
  std::size_t on = 0;
  for (const model::Coverage& row : report.coverage) {
    if (row.state == model::HookState::kOn) {
      ++on;
      continue;
    }
    const std::string state = row.state == model::HookState::kOff ? "off" : "missing";
    std::string& hooks = problems[{state, printable(row.reason.value_or("reason unknown"))}];
    hooks += (hooks.empty() ? "" : ", ") + printable(row.hook);
  }
  uint64_t losses = 0;
  for (const model::Counter& counter : report.counters) {
    losses += counter.kind == model::CounterKind::kLoss && counter.count > 0 ? 1 : 0;
  }
  page.labelled(
      "coverage",
      fmt::format("{} of {} hooks on{}", on, report.coverage.size(),
                  losses == 0 ? "; nothing lost" : "; LOSSES, live figures are not exact:"),
      losses == 0 ? Dress::kPlain : Dress::kRed);
  for (const auto& [why, hooks] : problems) {
    page.labelled("", fmt::format("{}: {}: {}", why.first, hooks, why.second));
  }
}

void write_counters(Page& page, const TraceReport& report, model::CounterKind kind,
                    std::string_view label, Dress dress) {
  for (const model::Counter& counter : report.counters) {
    if (counter.kind != kind || counter.count == 0) continue;
    const std::string size =
        counter.bytes ? fmt::format(" ({})", format_bytes(*counter.bytes)) : "";
    page.labelled(label,
                  fmt::format("{} {}{}: {}", printable(counter.name), count_text(counter.count),
                              size, printable(counter.meaning)),
                  dress);
    label = "";
  }
}

void write_totals(Page& page, const TraceReport& report) {
  const Totals& totals = report.totals;
  std::string text =
      fmt::format("allocated {} in {} block{}, freed {} in {}, live {}{} in {}",
                  format_bytes(totals.total_bytes), count_text(totals.total_count),
                  plural(totals.total_count), format_bytes(totals.total_bytes - totals.live_bytes),
                  count_text(totals.freed_count), format_bytes(totals.live_bytes),
                  error_text(report.mode, totals.live_bytes_error), count_text(totals.live_count));
  if (totals.live_bytes_change) {
    text +=
        fmt::format(" ({} since the last report)", format_bytes_change(*totals.live_bytes_change));
  }
  page.labelled("totals", text);
}

void write_verdicts(Page& page, const TraceReport& report, const TextOptions& options) {
  std::size_t shown = 0;
  std::string_view last_next;
  for (const model::Finding& finding : report.verdicts) {
    // The losses stand above already, each with its count.
    if (finding.area == "losses") continue;
    if (++shown > options.top) continue;
    write_finding(page, finding, options.explain && finding.next != last_next);
    last_next = finding.next;
  }
  if (shown > options.top) {
    page.labelled("",
                  fmt::format("{} more verdicts: --top {} shows them", shown - options.top, shown));
  }
}

void write_call_sites(Page& page, const TraceReport& report, const TextOptions& options) {
  Hidden hidden;
  std::size_t rank = 0;
  std::size_t shown = 0;
  for (const CallSiteRow& row : report.call_sites) {
    ++rank;
    if (row.live_count == 0) {
      ++hidden.empty;
    } else if (row.oldest_age_ns.value_or(UINT64_MAX) < options.min_age_ns) {
      ++hidden.young;
      hidden.young_bytes += row.live_bytes;
    } else if (shown == options.top) {
      ++hidden.below_top;
      hidden.below_top_bytes += row.live_bytes;
    } else {
      page.line("");
      if (shown++ == 0) {
        page.line(fmt::format("{:>6} {:>10} {:>8} {:>11} {:>17} {:>11} {:>11}  {}", "site", "live",
                              "share", "blocks", "oldest..youngest", "allocated", "freed",
                              row.live_bytes_change ? "change" : ""),
                  Dress::kBold);
      }
      write_call_site(page, report, row, rank);
    }
  }
  if (hidden.below_top + hidden.young + hidden.empty > 0) page.line("");
  write_hidden(page, hidden, options);
}

void write_next(Page& page, const TraceReport& report, const TextOptions& options) {
  if (!options.explain || report.next_commands.empty()) return;
  page.line("");
  page.line("next:");
  for (const std::string& command : report.next_commands) page.line("  " + printable(command));
}

namespace {

class TextReporter final : public Reporter {
 public:
  std::string write(const TraceReport& report, const TextOptions& options) const override {
    Page page(options.color);
    if (report.growth && report.growth->alone) {
      write_growth_report(page, report, options);
      return std::move(page).finish();
    }
    write_targets(page, report);
    write_budget(page, report.mode, report.windows);
    write_coverage(page, report);
    write_counters(page, report, model::CounterKind::kLoss, "lost", Dress::kRed);
    write_counters(page, report, model::CounterKind::kNote, "notes", Dress::kPlain);
    write_totals(page, report);
    write_mappings(page, report);
    write_explains(page, report.explains);
    if (report.audit_cost) page.labelled("audit", describe_audit_cost(*report.audit_cost));
    write_verdicts(page, report, options);
    if (report.empty_because) {
      page.line("");
      page.labelled("empty", printable(*report.empty_because), Dress::kBold);
    }
    write_call_sites(page, report, options);
    if (report.growth) write_growth(page, *report.growth, options);
    write_next(page, report, options);
    return std::move(page).finish();
  }
};

}  // namespace

const Reporter& text_reporter() {
  static const TextReporter kReporter;
  return kReporter;
}

}  // namespace tidemark::report
