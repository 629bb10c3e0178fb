// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "model/memory_facts.h"
#include "model/memory_rules.h"
#include "support/units.h"

namespace tidemark::model {
namespace {

constexpr uint64_t k32BitSpace = 3ull
                                 << 30;  // what the kernel leaves to a 32-bit process of its own

std::string name_of(const ProcessMemory& process) {
  return fmt::format("pid {} ({})", process.pid.value, process.comm);
}

std::string stacks_text(const ThreadStacks& stacks) {
  return fmt::format("{} thread stacks of {}", stacks.count, format_bytes(stacks.each_bytes));
}

// What is in memory or in swap and belongs to nobody else.
uint64_t own_bytes(const ProcessMemory& process) {
  return process.rss_anon_bytes.value_or(process.rss_bytes) + process.swap_bytes.value_or(0);
}

}  // namespace

Findings judge_processes(const MemoryFacts& facts, const MemoryPolicy& policy) {
  Findings findings;
  if (!facts.snapshot.processes) return findings;
  std::vector<const ProcessMemory*> large;
  for (const ProcessMemory& process : *facts.snapshot.processes) {
    if (is_share(facts, policy, own_bytes(process), policy.process_share))
      large.push_back(&process);
  }
  std::ranges::sort(large, [](const ProcessMemory* left, const ProcessMemory* right) {
    return own_bytes(*left) > own_bytes(*right);
  });
  if (large.size() > policy.most_findings_a_rule) large.resize(policy.most_findings_a_rule);
  for (const ProcessMemory* process : large) {
    std::string evidence = fmt::format("RSS {}", format_bytes(process->rss_bytes));
    if (process->pss_bytes) evidence += fmt::format(", PSS {}", format_bytes(*process->pss_bytes));
    if (process->swap_bytes)
      evidence += fmt::format(", swap {}", format_bytes(*process->swap_bytes));
    if (!process->largest_mappings.empty() && process->largest_mappings.front().rss_bytes) {
      const MemoryMapping& mapping = process->largest_mappings.front();
      evidence += fmt::format("; the largest mapping, {}, holds {}",
                              mapping.path.empty() ? "anonymous" : mapping.path,
                              format_bytes(*mapping.rss_bytes));
    }
    findings.push_back({.severity = Severity::kSuspect,
                        .area = {},
                        .what = fmt::format("{} holds {}, {}.", name_of(*process),
                                            format_bytes(own_bytes(*process)),
                                            share_text(facts, own_bytes(*process))),
                        .evidence = evidence,
                        .next = fmt::format("tidemark trace -p {} --for 1m", process->pid.value)});
  }
  return findings;
}

Findings judge_address_space(const MemoryFacts& facts, const MemoryPolicy& policy) {
  Findings findings;
  if (!facts.snapshot.processes) return findings;
  for (const ProcessMemory& process : *facts.snapshot.processes) {
    if (!process.is_32_bit.value_or(false)) continue;
    const double share =
        static_cast<double>(process.virtual_bytes) / static_cast<double>(k32BitSpace);
    if (share < policy.address_space_share || findings.size() == policy.most_findings_a_rule)
      continue;
    std::string evidence =
        fmt::format("virtual {}, RSS {}, {} threads", format_bytes(process.virtual_bytes),
                    format_bytes(process.rss_bytes), process.threads);
    std::string next = "build it for 64 bits, or map less";
    if (process.thread_stacks) {
      evidence += fmt::format("; {} = {}", stacks_text(*process.thread_stacks),
                              format_bytes(process.thread_stacks->total_bytes));
      next =
          "give its threads smaller stacks (ulimit -s, pthread_attr_setstacksize), or build it for "
          "64 bits";
    }
    findings.push_back(
        {.severity = Severity::kCritical,
         .area = {},
         .what = fmt::format("{} runs out of addresses: a 32-bit process that maps {} of 3 GiB.",
                             name_of(process), format_bytes(process.virtual_bytes)),
         .evidence = evidence,
         .next = next});
  }
  return findings;
}

Findings judge_thread_stacks(const MemoryFacts& facts, const MemoryPolicy& policy) {
  Findings findings;
  if (!facts.snapshot.processes) return findings;
  for (const ProcessMemory& process : *facts.snapshot.processes) {
    if (!process.thread_stacks || process.is_32_bit.value_or(false)) continue;
    const ThreadStacks& stacks = *process.thread_stacks;
    if (stacks.count < policy.many_stacks || stacks.total_bytes < policy.many_stack_bytes ||
        findings.size() == policy.most_findings_a_rule) {
      continue;
    }
    findings.push_back(
        {.severity = Severity::kInfo,
         .area = {},
         .what =
             fmt::format("{} maps {}: {} of address space, of which only what was touched is "
                         "memory.",
                         name_of(process), stacks_text(stacks), format_bytes(stacks.total_bytes)),
         .evidence =
             fmt::format("{} threads, virtual {}, RSS {}", process.threads,
                         format_bytes(process.virtual_bytes), format_bytes(process.rss_bytes)),
         .next = "more stacks than threads are a leak of threads that nobody joins"});
  }
  return findings;
}

}  // namespace tidemark::model
