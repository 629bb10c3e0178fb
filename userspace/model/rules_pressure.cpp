// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "model/memory_facts.h"
#include "model/memory_rules.h"
#include "support/units.h"

namespace tidemark::model {
namespace {

constexpr double kShort = 0.20;      // free memory that makes people look
constexpr double kAvailable = 0.25;  // and what then should calm them

double share_of(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

Findings judge_oom_kills(const MemoryFacts& facts, const MemoryPolicy&) {
  if (!facts.snapshot.kernel_log || facts.snapshot.kernel_log->oom_kills.empty()) return {};
  const auto& kills = facts.snapshot.kernel_log->oom_kills;
  std::map<std::string, uint64_t> count_by_name;
  for (const OomKill& kill : kills) ++count_by_name[kill.comm];
  std::string names;
  for (const auto& [name, count] : count_by_name) {
    names += fmt::format("{}{} ({} time{})", names.empty() ? "" : ", ", name, count, plural(count));
  }
  const OomKill& last = kills.back();
  std::string evidence =
      fmt::format("kernel log; the last: pid {} ({})", last.pid.value, last.comm);
  if (last.uptime_seconds) {
    const double now = static_cast<double>(facts.snapshot.taken_ns) / 1e9;
    evidence += fmt::format(
        " {} ago", format_duration(std::chrono::duration_cast<Nanoseconds>(
                       std::chrono::duration<double>(std::max(now - *last.uptime_seconds, 0.0)))));
  }
  if (last.anon_rss_bytes)
    evidence += fmt::format(", anonymous {}", format_bytes(*last.anon_rss_bytes));
  evidence += last.in_cgroup ? ", by the limit of its control group" : ", for the whole machine";
  return {{.severity = Severity::kSuspect,
           .area = {},
           .what = fmt::format("The kernel killed for want of memory: {}.", names),
           .evidence = evidence,
           .next = "a process that is killed and started again hides its leak: tidemark report "
                   "--every 10s --for 10m --store DIR shows it grow"}};
}

Findings judge_cgroup_limits(const MemoryFacts& facts, const MemoryPolicy& policy) {
  Findings findings;
  if (!facts.snapshot.cgroups) return findings;
  for (const CgroupMemory& group : *facts.snapshot.cgroups) {
    if (!group.current_bytes || !group.limit_bytes || *group.limit_bytes == 0) continue;
    const double share = share_of(*group.current_bytes, *group.limit_bytes);
    if (share < policy.near_limit || findings.size() == policy.most_findings_a_rule) continue;
    std::string evidence = fmt::format("{} of {}", format_bytes(*group.current_bytes),
                                       format_bytes(*group.limit_bytes));
    if (group.anon_bytes)
      evidence += fmt::format(", anonymous {}", format_bytes(*group.anon_bytes));
    if (group.file_bytes) evidence += fmt::format(", file {}", format_bytes(*group.file_bytes));
    findings.push_back({.severity = Severity::kSuspect,
                        .area = {},
                        .what = fmt::format("Control group {} is at {:.0f} % of its limit.",
                                            group.path, 100 * share),
                        .evidence = evidence,
                        .next = fmt::format("tidemark trace --cgroup {}", group.path)});
  }
  return findings;
}

Findings judge_swap(const MemoryFacts& facts, const MemoryPolicy& policy) {
  const auto total = meminfo_bytes(facts, "SwapTotal");
  const auto free = meminfo_bytes(facts, "SwapFree");
  if (!total || !free || *total == 0 || *free > *total) return {};
  const uint64_t used = *total - *free;
  if (share_of(used, *total) < policy.near_limit) return {};
  std::string evidence = fmt::format("{} of {} in use", format_bytes(used), format_bytes(*total));
  const ProcessMemory* widest = nullptr;
  if (facts.snapshot.processes) {
    for (const ProcessMemory& process : *facts.snapshot.processes) {
      if (widest == nullptr || process.swap_bytes > widest->swap_bytes) widest = &process;
    }
  }
  if (widest != nullptr && widest->swap_bytes) {
    evidence += fmt::format("; most of pid {} ({}): {}", widest->pid.value, widest->comm,
                            format_bytes(*widest->swap_bytes));
  }
  return {{.severity = Severity::kSuspect,
           .area = {},
           .what = "Swap is full.",
           .evidence = evidence,
           .next = "the processes with the most swap are in the table of processes"}};
}

// free says "used up", and most of it is cache.
Findings judge_cache(const MemoryFacts& facts, const MemoryPolicy&) {
  const auto free = meminfo_bytes(facts, "MemFree");
  const auto available = meminfo_bytes(facts, "MemAvailable");
  const auto& total = facts.attribution.mem_total_bytes;
  if (!free || !available || !total) return {};
  if (share_of(*free, *total) >= kShort || share_of(*available, *total) < kAvailable ||
      *available <= *free) {
    return {};
  }
  return {{.severity = Severity::kInfo,
           .area = {},
           .what = "Memory only looks used: most of it is cache that the kernel gives back.",
           .evidence = fmt::format("MemFree {}, but MemAvailable {} ({})", format_bytes(*free),
                                   format_bytes(*available), share_text(facts, *available)),
           .next = "nothing to do; echo 3 > /proc/sys/vm/drop_caches shows it, at the price of a "
                   "slow minute"}};
}

}  // namespace tidemark::model
