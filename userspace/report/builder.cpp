// SPDX-License-Identifier: Apache-2.0
#include "report/builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "model/site_key.h"
#include "report/live_error.h"
#include "report/mappings.h"
#include "report/names.h"
#include "support/units.h"

namespace tidemark::report {
namespace {

using model::SiteKey;
using Ends = std::unordered_map<model::StackId, model::StackEnd>;
using LiveBytes = std::map<SiteKey, uint64_t>;
using Targets = std::unordered_map<model::Generation, const model::Target*>;

constexpr std::size_t kNameWidth = 60;

struct KeyedRow {
  SiteKey key;
  CallSiteRow row;
};

int64_t difference(uint64_t now, uint64_t before) {
  return static_cast<int64_t>(now - before);
}

// --- stacks

bool is_bottom(const model::Frame& frame) {
  constexpr std::array<std::string_view, 7> kBottoms = {
      "_start", "__libc_start_main", "__libc_start_call_main", "start_thread", "clone", "clone3",
      "__clone"};
  if (!frame.function) return false;
  // "__libc_start_main@@GLIBC_2.34" and "__libc_start_main_impl" are the same place.
  std::string_view name = *frame.function;
  name = name.substr(0, name.find('@'));
  if (name.ends_with("_impl")) name.remove_suffix(5);
  return std::ranges::find(kBottoms, name) != kBottoms.end();
}

constexpr std::string_view kStackLost =
    "stack lost: the stack table was full or the stack could not be read, see the losses";

// Without frame pointers the chain of them can end in nonsense: nothing is mapped there, and what
// comes behind it is no caller either.
bool drop_nonsense(std::vector<model::Frame>& frames) {
  const auto unmapped =
      std::find_if(frames.begin() + 1, frames.end(),
                   [](const model::Frame& frame) { return frame.module.empty(); });
  const bool dropped = unmapped != frames.end();
  frames.erase(unmapped, frames.end());
  return dropped;
}

constexpr std::string_view kTooDeep = "stack cut: deeper than what is kept";
constexpr std::string_view kWayNotKnown = "stack cut: the way to the next caller was not known";

}  // namespace

void settle_stack(std::vector<model::Frame>& frames, model::StackEnd end, StackState& state,
                  std::optional<std::string>& note) {
  if (frames.empty()) {
    state = StackState::kLost;
    note = kStackLost;
    return;
  }
  const bool dropped = drop_nonsense(frames);
  const bool reached_bottom = end == model::StackEnd::kBottom ||
                              (end == model::StackEnd::kBroken && is_bottom(frames.back()));
  if (reached_bottom && !dropped) return;
  state = StackState::kCut;
  note = end == model::StackEnd::kDepthLimit && !dropped ? kTooDeep : kWayNotKnown;
}

namespace {

void settle_stack(CallSiteRow& row, const SiteKey& key, const StackNames& names, const Ends& ends) {
  if (key.stack != model::kStackLost) row.frames = names(key.owner, key.stack);
  const auto end = ends.find(key.stack);
  report::settle_stack(row.frames, end == ends.end() ? model::StackEnd::kBroken : end->second,
                       row.stack, row.stack_note);
}

std::vector<model::Counter> cut_stacks(const std::vector<CallSiteRow>& rows) {
  const auto noted = [&rows](std::string_view note) {
    return static_cast<uint64_t>(std::ranges::count_if(
        rows, [note](const CallSiteRow& row) { return row.stack_note == note; }));
  };
  const auto counter = [](const char* name, uint64_t count, const char* meaning) {
    return model::Counter{name, model::CounterKind::kNote, count, std::nullopt, meaning};
  };
  return {counter("deep_stacks", noted(kTooDeep),
                  "call sites whose outermost callers are not shown: the stack is deeper than what "
                  "is kept"),
          counter("broken_stacks", noted(kWayNotKnown),
                  "call sites whose outer callers are not known: there is no unwind data, or none "
                  "that a walk can follow")};
}

// --- rows

// Call sites with the same key are one row.
std::map<SiteKey, model::CallSite> merged_sites(const model::Snapshot& snapshot) {
  std::map<SiteKey, model::CallSite> merged;
  for (const model::CallSite& site : snapshot.call_sites) {
    const auto [place, is_new] = merged.try_emplace(model::key_of(site), site);
    if (!is_new) model::add_to(place->second, site);
  }
  return merged;
}

LiveBytes live_bytes_of(const model::Snapshot& snapshot) {
  LiveBytes live;
  for (const model::CallSite& site : snapshot.call_sites)
    live[model::key_of(site)] += site.live_bytes();
  return live;
}

std::optional<uint64_t> age(std::optional<uint64_t> birth_ns, uint64_t now_ns) {
  if (!birth_ns) return std::nullopt;
  return now_ns > *birth_ns ? now_ns - *birth_ns : 0;
}

CallSiteRow row_of(const model::CallSite& site, const Targets& targets, uint64_t now_ns,
                   const LiveError& error) {
  CallSiteRow row;
  row.kind = site.kind;
  if (const auto target = targets.find(site.owner); target != targets.end()) {
    if (!site.of_several_processes) row.pid = target->second->pid.value;
    row.comm = target->second->comm;
  }
  row.live_bytes = site.live_bytes();
  row.live_count = site.live_count();
  row.live_bytes_error = error.of(site);
  row.live_usable_bytes = site.live_usable_bytes;
  row.total_bytes = site.total_bytes;
  row.total_count = site.total_count;
  if (row.live_count > 0) {
    row.oldest_age_ns = age(site.oldest_birth_ns, now_ns);
    row.youngest_age_ns = age(site.youngest_birth_ns, now_ns);
  }
  if (!site.allocator.empty()) row.allocator = site.allocator;
  row.purpose = site.purpose;
  row.resident = site.resident;
  if (!site.place.cache.empty()) row.cache = site.place.cache;
  row.order = site.place.order;
  row.gfp_flags = site.place.gfp_flags;
  row.owners = site.owners;
  row.audit = site.audit;
  row.windowed = site.windowed;
  row.stack_id = site.stack;
  return row;
}

// What certainly stays, of what windows say: live bytes are uncertain then, and of large caches
// most.
double surely_kept(const CallSiteRow& row) {
  return row.windowed ? row.windowed->estimate.leak_bytes_per_s.low : 0;
}

bool goes_first(const KeyedRow& a, const KeyedRow& b) {
  const auto order = [](const KeyedRow& keyed) {
    const CallSiteRow& row = keyed.row;
    return std::tuple(-surely_kept(row), ~row.live_bytes, ~row.total_bytes, ~row.total_count,
                      row.pid, keyed.key);
  };
  return order(a) < order(b);
}

std::vector<KeyedRow> make_rows(const model::Snapshot& snapshot, const StackNames& names,
                                const model::Snapshot* previous, const LiveError& error) {
  Ends ends;
  for (const model::Stack& stack : snapshot.stacks) ends.emplace(stack.id, stack.end);
  Targets targets;
  for (const model::Target& target : snapshot.targets) targets.emplace(target.generation, &target);
  const LiveBytes before = previous != nullptr ? live_bytes_of(*previous) : LiveBytes{};

  std::vector<KeyedRow> rows;
  for (const auto& [key, site] : merged_sites(snapshot)) {
    CallSiteRow row = row_of(site, targets, snapshot.taken_ns, error);
    settle_stack(row, key, names, ends);
    if (previous != nullptr) {
      const auto old = before.find(key);
      row.live_bytes_change = difference(row.live_bytes, old == before.end() ? 0 : old->second);
    }
    rows.push_back({key, std::move(row)});
  }
  std::ranges::sort(rows, goes_first);
  return rows;
}

// --- sums

Totals sum_up(const model::Snapshot& snapshot, const model::Snapshot* previous,
              const std::vector<CallSiteRow>& rows) {
  Totals totals;
  totals.live_usable_bytes = 0;
  totals.unmatched_frees = 0;
  for (const CallSiteRow& row : rows) {
    // A mapping's bytes are whole pages: there is no more room in it than that.
    const bool is_mapping = row.kind == model::Kind::kMapping;
    const auto usable = is_mapping ? std::optional(row.live_bytes) : row.live_usable_bytes;
    if (row.live_count > 0)
      totals.live_usable_bytes = model::sum_if_known(totals.live_usable_bytes, usable);
    totals.live_bytes += row.live_bytes;
    totals.live_count += row.live_count;
    totals.total_bytes += row.total_bytes;
    totals.total_count += row.total_count;
  }
  totals.freed_count = totals.total_count - totals.live_count;
  for (const model::Counter& counter : snapshot.counters) {
    if (counter.name == "unmatched_frees") totals.unmatched_frees = counter.count;
  }
  if (previous != nullptr) {
    uint64_t before = 0;
    for (const model::CallSite& site : previous->call_sites) before += site.live_bytes();
    totals.live_bytes_change = difference(totals.live_bytes, before);
  }
  return totals;
}

// Of mappings only what is in memory, and no file's: the rest is no part of RssAnon.
Explains explain(const model::Snapshot& snapshot, const Totals& totals,
                 const MappingSums& mappings) {
  Explains explains;
  const bool known = mappings.resident_anonymous_bytes.has_value();
  explains.tracked_growth_bytes = static_cast<int64_t>(
      totals.live_bytes - mappings.live_bytes + mappings.resident_anonymous_bytes.value_or(0));
  int64_t growth = 0;
  for (const model::Target& target : snapshot.targets) {
    if (!target.rss_anon_start_bytes || !target.rss_anon_end_bytes) return explains;
    growth += difference(*target.rss_anon_end_bytes, *target.rss_anon_start_bytes);
  }
  if (snapshot.targets.empty()) return explains;
  explains.rss_anon_growth_bytes = growth;
  if (growth > 0 && known) {
    explains.ratio =
        static_cast<double>(explains.tracked_growth_bytes) / static_cast<double>(growth);
  }
  return explains;
}

// --- words

std::vector<model::Finding> name_findings(const std::vector<model::Finding>& findings,
                                          std::vector<KeyedRow>& rows, bool many_targets) {
  std::map<SiteKey, std::size_t> place;
  for (std::size_t at = 0; at < rows.size(); ++at) place.emplace(rows[at].key, at);
  std::vector<model::Finding> named = findings;
  for (model::Finding& finding : named) {
    const auto found = finding.site ? place.find(*finding.site) : place.end();
    if (found == place.end()) continue;
    CallSiteRow& row = rows[found->second].row;
    row.suspect |= finding.severity != model::Severity::kInfo;
    const model::Frame* frame = speaking_frame(row.frames);
    const std::string name = frame != nullptr ? brief_name(*frame, kNameWidth) : "[stack lost]";
    const std::string owner =
        many_targets && row.pid
            ? fmt::format(" of {} ({})", printable(row.comm.value_or("?")), *row.pid)
            : "";
    finding.what = fmt::format("#{} {}{} {}", found->second + 1, name, owner, finding.what);
  }
  return named;
}

std::string empty_because(const model::Snapshot& snapshot, const Totals& totals,
                          uint64_t sampling_interval) {
  const std::string span =
      format_duration(Nanoseconds(difference(snapshot.taken_ns, snapshot.started_ns)));
  if (totals.total_count > 0) {
    return fmt::format("all {} blocks allocated in {} were freed again: nothing is kept",
                       format_count(totals.total_count), span);
  }
  std::optional<uint64_t> hits = 0;
  uint64_t probes = 0;
  for (const model::Target& target : snapshot.targets) {
    for (const model::AllocatorUse& use : target.allocators) {
      hits = model::sum_if_known(hits, use.hits);
      probes += use.probes;
    }
  }
  if (probes == 0) return "no probe is on: no known allocator was found, see the coverage";
  if (hits == 0) {
    return fmt::format(
        "no allocation in {}: none of the {} probes was hit; the target was idle, or it allocates "
        "with "
        "something else",
        span, probes);
  }
  if (!hits) return fmt::format("no allocation in {}", span);
  if (sampling_interval != 0) {
    return fmt::format(
        "no sample in {}: one block is recorded in every {} or so that are allocated, and the "
        "probes were hit {} times; a smaller --sample, or --exact, shows more",
        span, format_bytes(sampling_interval), format_count(*hits));
  }
  if (totals.unmatched_frees.value_or(0) > 0) {
    return fmt::format("no allocation in {}, only {} frees of blocks older than the trace", span,
                       format_count(*totals.unmatched_frees));
  }
  return fmt::format(
      "no allocation in {}, though the probes were hit {} times: see losses and notes", span,
      format_count(*hits));
}

std::string shell_word(std::string_view text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:@%,";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos)
    return std::string(text);
  std::string quoted = "'";
  for (const char character : text) {
    if (character == '\'') {
      quoted += "'\\''";
    } else {
      quoted += character;
    }
  }
  return quoted + "'";
}

std::optional<std::string> look_up_line(const std::vector<CallSiteRow>& rows) {
  const auto suspect = std::ranges::find(rows, true, &CallSiteRow::suspect);
  const auto row = suspect != rows.end() ? suspect : rows.begin();
  if (row == rows.end() || row->live_bytes == 0) return std::nullopt;
  const model::Frame* frame = speaking_frame(row->frames);
  if (frame == nullptr || frame->file || !frame->module.starts_with('/')) return std::nullopt;
  return fmt::format("addr2line -Cfe {} {:#x}", shell_word(printable(frame->module)),
                     frame->offset);
}

std::string pid_options(const model::Snapshot& snapshot) {
  std::string options;
  std::vector<int32_t> named;
  for (const model::Target& target : snapshot.targets) {
    if (!target.alive || named.size() == 8 || std::ranges::count(named, target.pid.value) > 0)
      continue;
    named.push_back(target.pid.value);
    options += fmt::format(" -p {}", target.pid.value);
  }
  return options;
}

std::vector<std::string> commands_for(const model::Snapshot& snapshot,
                                      const std::vector<CallSiteRow>& rows, bool is_empty) {
  std::vector<std::string> commands;
  if (const auto line = look_up_line(rows)) commands.push_back(*line);
  const std::string pids = pid_options(snapshot);
  if (pids.empty()) return commands;
  const auto missing = [](const model::Coverage& row) {
    return row.state == model::HookState::kMissing;
  };
  if (is_empty || has_losses(snapshot.counters) ||
      std::ranges::any_of(snapshot.coverage, missing)) {
    commands.push_back(fmt::format("tidemark doctor{}", pids.substr(0, pids.find(" -p", 1))));
  }
  commands.push_back(fmt::format("tidemark trace{} --for 5m --every 30s", pids));
  if (!is_empty)
    commands.push_back(fmt::format("tidemark trace{} --for 1m --json trace.json", pids));
  return commands;
}

}  // namespace

TraceReport build_trace_report(const model::Snapshot& snapshot,
                               const std::vector<model::Finding>& findings, const StackNames& names,
                               const model::Snapshot* previous, const BuildInfo& info) {
  const uint64_t sampling_interval = info.mode.sampling_interval_bytes.value_or(0);
  const LiveError error(snapshot, sampling_interval);
  std::vector<KeyedRow> rows = make_rows(snapshot, names, previous, error);
  TraceReport report;
  report.tool_version = info.tool_version;
  report.kernel_release = info.kernel_release;
  report.mode = info.mode;
  report.mode.exact &= !has_losses(snapshot.counters);
  report.started_unix_ns = snapshot.started_unix_ns;
  report.duration_ns =
      snapshot.taken_ns > snapshot.started_ns ? snapshot.taken_ns - snapshot.started_ns : 0;
  report.targets = snapshot.targets;
  report.coverage = snapshot.coverage;
  report.counters = snapshot.counters;
  report.windows = snapshot.windows;
  report.audit_cost = snapshot.audit_cost;
  report.verdicts = name_findings(findings, rows, snapshot.targets.size() > 1);
  report.call_sites.reserve(rows.size());
  for (KeyedRow& keyed : rows) report.call_sites.push_back(std::move(keyed.row));
  std::ranges::move(cut_stacks(report.call_sites), std::back_inserter(report.counters));
  report.totals = sum_up(snapshot, previous, report.call_sites);
  report.totals.live_bytes_error = error.of_total();
  if (sampling_interval != 0) report.totals.unmatched_frees.reset();
  report.mappings = sum_up_mappings(report.call_sites);
  report.apart = sum_up_apart(snapshot.apart);
  report.explains = explain(snapshot, report.totals, report.mappings);
  const bool is_empty = report.totals.live_count == 0;
  if (is_empty) report.empty_because = empty_because(snapshot, report.totals, sampling_interval);
  report.next_commands = commands_for(snapshot, report.call_sites, is_empty);
  return report;
}

}  // namespace tidemark::report
