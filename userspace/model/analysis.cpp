// SPDX-License-Identifier: Apache-2.0
#include "model/analysis.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/normal.h"
#include "support/units.h"

namespace tidemark::model {
namespace {

uint64_t duration_of(const Snapshot& snapshot) {
  return snapshot.taken_ns > snapshot.started_ns ? snapshot.taken_ns - snapshot.started_ns : 0;
}

std::string duration_text(uint64_t ns) {
  return format_duration(Nanoseconds(static_cast<int64_t>(ns)));
}

bool keeps_most(const CallSite& site) {
  return site.freed_count < (site.total_count + 3) / 4;
}

// Fewer old survivors than younger ones by more than chance (two standard deviations of a count),
// and by a quarter.
bool declines(uint64_t oldest, uint64_t younger) {
  if (oldest >= younger) return false;
  const double difference = static_cast<double>(younger - oldest);
  const double sum = static_cast<double>(younger) + static_cast<double>(oldest);
  return difference * difference > 4.0 * sum &&
         static_cast<double>(oldest) < 0.75 * static_cast<double>(younger);
}

// The shape of a call site with `old` survivors of the first three quarters, which are enough to
// judge.
SiteShape shape_of_survivors(const CallSite& site, uint64_t old, uint64_t live) {
  const auto& born = site.live_by_quarter;
  const uint64_t most = std::max({born[0], born[1], born[2]});
  if (most >= live - live / 10) return SiteShape::kBurst;
  // With steady growth three quarters of all survivors are old ones.
  if (old < live / (keeps_most(site) ? 4 : 2)) return SiteShape::kYoung;
  if (!keeps_most(site) && declines(born[0], born[2])) return SiteShape::kDeclining;
  const uint64_t half_of_fair_share = std::max<uint64_t>(old / 6, 1);
  if (std::min({born[0], born[1], born[2]}) < half_of_fair_share) return SiteShape::kUneven;
  return SiteShape::kGrowing;
}

double share_of(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

// Long enough to tell a leak from a cache that fills up: at least four times as long as this trace.
std::string_view longer_than(uint64_t duration_ns) {
  struct Step {
    uint64_t seconds;
    std::string_view text;
  };
  constexpr std::array kSteps = {Step{60, "1m"}, Step{300, "5m"}, Step{1800, "30m"},
                                 Step{7200, "2h"}};
  for (const Step& step : kSteps) {
    if (duration_ns / 1'000'000'000 * 4 <= step.seconds) return step.text;
  }
  return "12h";
}

// What a call site weighs: of a mapping what is in memory of it, so that the address space of a
// thread pool does not hide a leak.
uint64_t weight_of(const CallSite& site) {
  // What is known to be kept; the middle of the bounds is large for what nothing is known of.
  if (site.windowed)
    return static_cast<uint64_t>(std::max(0.0, site.windowed->estimate.live_bytes.low));
  return site.resident ? std::min(site.resident->bytes, site.live_bytes()) : site.live_bytes();
}

// "3.0 KiB in 12 blocks"
std::string size_of(const CallSite& site) {
  if (site.kind != Kind::kMapping) {
    return fmt::format("{} in {} blocks", format_bytes(site.live_bytes()),
                       format_count(site.live_count()));
  }
  return fmt::format("{} of address space in {} mappings", format_bytes(site.live_bytes()),
                     format_count(site.live_count()));
}

const Target* owner_of(const Snapshot& snapshot, Generation owner) {
  const auto found = std::ranges::find(snapshot.targets, owner, &Target::generation);
  return found == snapshot.targets.end() ? nullptr : &*found;
}

std::string evidence_of(const Snapshot& snapshot, const CallSite& site, double share) {
  const auto& born = site.live_by_quarter;
  std::string text = fmt::format(
      "live blocks by the quarter of the trace they were born in: {}, {}, {}, {}; {} of {} "
      "allocations freed; {:.1f} % of all live bytes",
      format_count(born[0]), format_count(born[1]), format_count(born[2]), format_count(born[3]),
      format_count(site.freed_count), format_count(site.total_count), 100.0 * share);
  if (site.oldest_birth_ns && *site.oldest_birth_ns <= snapshot.taken_ns) {
    text += fmt::format("; the oldest is {} old",
                        duration_text(snapshot.taken_ns - *site.oldest_birth_ns));
  }
  return text;
}

std::string area_of(Kind kind) {
  switch (kind) {
    case Kind::kHeap:
      return "heap";
    case Kind::kMapping:
      return "mapping";
    case Kind::kSlab:
      return "slab";
    case Kind::kPage:
      return "page";
    case Kind::kVmalloc:
      return "vmalloc";
    case Kind::kPercpu:
      return "percpu";
  }
  return "heap";
}

std::string percent_of(uint64_t part, uint64_t whole) {
  return fmt::format("{:.1f} %", 100.0 * share_of(part, whole));
}

// What the allocator's own books say, where they were asked.
std::string audit_text(const CallSite& site) {
  if (!site.audit) return "";
  const AuditShares& audit = *site.audit;
  const uint64_t all = audit.looked_up();
  std::string text = fmt::format(
      "; of {} blocks looked up in the allocator's own books {} are free, {} changed, {} look live "
      "and unchanged",
      format_count(all), percent_of(audit.dead, all), percent_of(audit.changed, all),
      percent_of(audit.looks_live_same, all));
  if (audit.same_for_ns) text += fmt::format(" for {}", duration_text(*audit.same_for_ns));
  text +=
      fmt::format(", {} look live and were written to", percent_of(audit.looks_live_other, all));
  if (audit.looks_live_once > 0)
    text += fmt::format(", {} look live, seen once", percent_of(audit.looks_live_once, all));
  if (audit.unknown > 0) text += fmt::format(", {} unknown", percent_of(audit.unknown, all));
  return text;
}

bool is_refuted(const CallSite& site, const Policy& policy) {
  if (!site.audit) return false;
  const uint64_t known = site.audit->looked_up() - site.audit->unknown;
  return known >= policy.min_audited && share_of(site.audit->dead, known) >= policy.refuting_share;
}

// Its frees are ones that no probe sees.
Finding refuted(const CallSite& site) {
  return {.severity = Severity::kInfo,
          .area = area_of(site.kind),
          .what = fmt::format(
              "is no suspect: {} of {} of its blocks are free by the allocator's own books",
              format_count(site.audit->dead), format_count(site.audit->looked_up())),
          .evidence = fmt::format("{} counted as live; their frees were not seen{}", size_of(site),
                                  audit_text(site)),
          .next = "the losses and notes say which frees are not seen",
          .site = key_of(site)};
}

// In windows: what gets older than half of the trace, and certainly some of it does.
Finding leaking_in_windows(const Snapshot& snapshot, const CallSite& site) {
  const Estimate& leak = site.windowed->estimate.leak_bytes_per_s;
  return {
      .severity = Severity::kSuspect,
      .area = area_of(site.kind),
      .what = fmt::format("keeps {} of what it allocates", format_rate(leak.value)),
      .evidence =
          fmt::format(
              "between {} and {} (95 %) get older than half of the trace, by what {} windows saw "
              "of the {} that it allocates",
              format_rate(leak.low), format_rate(leak.high), snapshot.windows->windows.size(),
              format_rate(site.windowed->estimate.birth_bytes_per_s.value)) +
          audit_text(site),
      .next = "a longer trace makes the bounds narrower",
      .site = key_of(site)};
}

Finding growing(const Snapshot& snapshot, const CallSite& site, double share) {
  Finding finding{
      .severity = Severity::kSuspect,
      .area = area_of(site.kind),
      .what = fmt::format("{} what it {}: {} live",
                          keeps_most(site) ? "keeps" : "frees much, but keeps part of",
                          site.kind == Kind::kMapping ? "maps" : "allocates", size_of(site)),
      .evidence = evidence_of(snapshot, site, share) + audit_text(site),
      .next = "",
      .site = key_of(site)};
  const Target* target = owner_of(snapshot, site.owner);
  if (target != nullptr && target->alive) {
    finding.next = fmt::format(
        "a longer trace tells a leak from a cache that fills up: tidemark trace -p {} --for {}",
        target->pid.value, longer_than(duration_of(snapshot)));
  } else {
    finding.next =
        "read the code at this stack: who is to free the block, and on which path does nobody?";
  }
  return finding;
}

Finding burst(const Snapshot& snapshot, const CallSite& site, double share) {
  return {.severity = Severity::kInfo,
          .area = area_of(site.kind),
          .what = fmt::format("{} {} in one burst and keeps them: a cache or a warm-up?",
                              site.kind == Kind::kMapping ? "mapped" : "allocated", size_of(site)),
          .evidence = evidence_of(snapshot, site, share),
          .next = "a trace that starts later shows whether it happens again",
          .site = key_of(site)};
}

struct WeighedSite {
  const CallSite* site;
  double share;
};

std::vector<WeighedSite> heaviest_first(const Snapshot& snapshot) {
  uint64_t all_live_bytes = 0;
  for (const CallSite& site : snapshot.call_sites) all_live_bytes += weight_of(site);
  std::vector<WeighedSite> sites;
  for (const CallSite& site : snapshot.call_sites)
    sites.push_back({&site, share_of(weight_of(site), all_live_bytes)});
  std::ranges::stable_sort(sites, std::greater{}, &WeighedSite::share);
  return sites;
}

// Of many call sites that leak nothing, one in forty is above 0 with 95 %: as far below its value
// as 95 % reach, 99 % reach a third farther, and have to stay above 0, too.
bool is_certainly_some(const Estimate& estimate) {
  constexpr double kFarther = kStandardErrors99 / kStandardErrors95;
  return estimate.low > 0 && estimate.value - kFarther * (estimate.value - estimate.low) > 0;
}

bool is_leaking_in_windows(const CallSite& site, const Policy& policy) {
  return site.windowed && is_certainly_some(site.windowed->estimate.leak_bytes_per_s) &&
         weight_of(site) >= policy.min_live_bytes;
}

void judge_call_sites(const Snapshot& snapshot, const Policy& policy,
                      std::vector<Finding>& findings) {
  if (duration_of(snapshot) < policy.min_duration_ns) return;
  std::vector<Finding> others;
  for (const auto& [site, share] : heaviest_first(snapshot)) {
    if (snapshot.windows && site->kind == Kind::kHeap) {
      if (is_leaking_in_windows(*site, policy))
        findings.push_back(leaking_in_windows(snapshot, *site));
      continue;
    }
    const SiteShape shape = shape_of(*site, policy);
    if (shape == SiteShape::kGrowing && share >= policy.min_share) {
      if (is_refuted(*site, policy)) {
        others.push_back(refuted(*site));
      } else {
        findings.push_back(growing(snapshot, *site, share));
      }
    } else if (shape == SiteShape::kBurst && share >= policy.min_burst_share &&
               weight_of(*site) >= policy.min_burst_bytes) {
      others.push_back(burst(snapshot, *site, share));
    }
  }
  std::ranges::move(others, std::back_inserter(findings));
}

void tell_losses(const Snapshot& snapshot, std::vector<Finding>& findings) {
  for (const Counter& counter : snapshot.counters) {
    if (counter.kind != CounterKind::kLoss || counter.count == 0) continue;
    const std::string size =
        counter.bytes ? fmt::format(" ({})", format_bytes(*counter.bytes)) : "";
    findings.push_back(
        {.severity = Severity::kInfo,
         .area = "losses",
         .what = fmt::format("{}: {} lost", counter.name, format_count(counter.count)),
         .evidence = fmt::format(
             "{}; live figures may be off by up to {} blocks{}, in all or per call site",
             counter.meaning, format_count(counter.count), size),
         .next = counter.name.ends_with("_full")
                     ? "larger tables (--max-blocks, --max-stacks) or a shorter trace lose less"
                     : "tidemark doctor -v says what works here and what does not"});
  }
}

// None for a target that is not silent, or of whom that is no wonder.
std::optional<std::string> silence_of(const Target& target, uint64_t duration_ns,
                                      const Policy& policy) {
  uint64_t probes = 0;
  std::optional<uint64_t> hits = 0;
  for (const AllocatorUse& use : target.allocators) {
    probes += use.probes;
    hits = sum_if_known(hits, use.hits);
  }
  const auto &start = target.rss_anon_start_bytes, &end = target.rss_anon_end_bytes;
  const uint64_t growth_bytes = start && end && *end > *start ? *end - *start : 0;
  const bool replaced_by_exec = !target.alive && !target.exit_code;
  // Of a whole machine's processes most are idle.
  const bool is_idle =
      (!hits || target.allocators.empty()) && growth_bytes < policy.min_silent_growth_bytes;
  if (hits.value_or(0) != 0 || is_idle || replaced_by_exec) return std::nullopt;
  std::string evidence =
      fmt::format("{} probes on {} allocator{}, {} in {}", probes, target.allocators.size(),
                  target.allocators.size() == 1 ? "" : "s", hits ? "0 hits" : "no block",
                  duration_text(duration_ns));
  if (growth_bytes > 0) {
    evidence += fmt::format(", while RssAnon grew by {}: it allocates by other ways",
                            format_bytes(growth_bytes));
  }
  for (std::size_t i = 0; i < target.candidates.size(); ++i)
    evidence += (i == 0 ? "; may be its allocator: " : ", ") + target.candidates[i];
  return evidence;
}

// "worker (pid 17)", "3 processes of worker (pid 17, 18, 19)"
std::string names_of(const std::string& comm, const std::vector<Pid>& pids) {
  constexpr std::size_t kMostTold = 5;
  std::string numbers;
  for (std::size_t at = 0; at < std::min(pids.size(), kMostTold); ++at)
    numbers += fmt::format("{}{}", at == 0 ? "" : ", ", pids[at].value);
  if (pids.size() > kMostTold) numbers += fmt::format(" and {} more", pids.size() - kMostTold);
  const std::string who =
      pids.size() == 1 ? comm : fmt::format("{} processes of {}", pids.size(), comm);
  return fmt::format("{} (pid {})", who, numbers);
}

// The idle workers of a group are as many as they are alike: told once.
void tell_silent_targets(const Snapshot& snapshot, const Policy& policy,
                         std::vector<Finding>& findings) {
  std::set<Generation> seen;
  // What is mapped is no call of an allocator: a pool of its own may be cut out of it.
  for (const CallSite& site : snapshot.call_sites) {
    if (site.kind == Kind::kHeap) seen.insert(site.owner);
  }
  std::map<std::pair<std::string, std::string>, std::vector<Pid>> silent;
  for (const Target& target : snapshot.targets) {
    if (seen.contains(target.generation)) continue;
    if (const auto evidence = silence_of(target, duration_of(snapshot), policy))
      silent[{target.comm, *evidence}].push_back(target.pid);
  }
  for (const auto& [alike, pids] : silent) {
    const auto& [comm, evidence] = alike;
    findings.push_back({.severity = Severity::kInfo,
                        .area = "coverage",
                        .what = "no allocator call seen in " + names_of(comm, pids),
                        .evidence = evidence,
                        .next = fmt::format("tidemark doctor -p {}", pids.front().value)});
  }
}

void tell_execs(const Snapshot& snapshot, const Policy& policy, std::vector<Finding>& findings) {
  std::map<Pid, std::vector<const Target*>> images;
  for (const Target& target : snapshot.targets) images[target.pid].push_back(&target);
  std::erase_if(images, [](const auto& entry) { return entry.second.size() < 2; });
  // On a whole machine that is the way of the world.
  if (images.size() > policy.most_execs_told) return;
  for (const auto& [pid, generations] : images) {
    std::string names;
    for (const Target* target : generations) {
      names += fmt::format("{}{} (generation {})", names.empty() ? "" : ", then ", target->comm,
                           target->generation.value);
    }
    findings.push_back(
        {.severity = Severity::kInfo,
         .area = "coverage",
         .what = fmt::format("pid {} called exec during the trace", pid.value),
         .evidence = names,
         .next = "each generation has call sites of its own; what the first one held is gone"});
  }
}

// In windows nothing but an audit may tell what lives on from what was freed between them. By what
// was not seen to be freed, before there are any estimates.
std::vector<std::size_t> largest_of_heap(const Snapshot& snapshot, std::size_t most) {
  std::vector<std::size_t> sites;
  for (std::size_t at = 0; at < snapshot.call_sites.size(); ++at) {
    if (snapshot.call_sites[at].kind == Kind::kHeap) sites.push_back(at);
  }
  std::ranges::stable_sort(sites, std::greater{},
                           [&](std::size_t at) { return snapshot.call_sites[at].live_bytes(); });
  sites.resize(std::min(sites.size(), most));
  return sites;
}

}  // namespace

SiteShape shape_of(const CallSite& site, const Policy& policy) {
  const auto& born = site.live_by_quarter;
  const uint64_t old = born[0] + born[1] + born[2];
  const uint64_t live = old + born[3];
  if (live == 0 || site.live_bytes() < policy.min_live_bytes) return SiteShape::kTooLittle;
  if (old == 0 || old < live / 10) return SiteShape::kYoung;
  // A few large blocks, all born together, are a burst however few they are.
  const bool burst_of_few = std::max({born[0], born[1], born[2]}) >= live - live / 10;
  const uint64_t enough = keeps_most(site) ? policy.min_survivors : policy.min_survivors_in_churn;
  if (old < enough && !burst_of_few) return SiteShape::kTooLittle;
  return shape_of_survivors(site, old, live);
}

// Half of what makes a suspect, so that what becomes one a moment later was looked at too.
std::vector<std::size_t> audit_candidates(const Snapshot& snapshot, const Policy& policy,
                                          std::size_t most) {
  if (snapshot.windows) return largest_of_heap(snapshot, most);
  Policy early = policy;
  early.min_live_bytes /= 2;
  early.min_survivors /= 2;
  early.min_survivors_in_churn /= 2;
  std::vector<std::size_t> candidates;
  for (const auto& [site, share] : heaviest_first(snapshot)) {
    if (candidates.size() == most) break;
    const bool may_leak = site->kind == Kind::kHeap && share >= policy.min_share / 2 &&
                          shape_of(*site, early) == SiteShape::kGrowing;
    if (!may_leak) continue;
    candidates.push_back(static_cast<std::size_t>(site - snapshot.call_sites.data()));
  }
  return candidates;
}

std::vector<Finding> analyse(const Snapshot& snapshot, const Policy& policy) {
  std::vector<Finding> findings;
  judge_call_sites(snapshot, policy, findings);
  tell_losses(snapshot, findings);
  tell_silent_targets(snapshot, policy, findings);
  tell_execs(snapshot, policy, findings);
  return findings;
}

}  // namespace tidemark::model
