// SPDX-License-Identifier: Apache-2.0
#include "model/memory_verdicts.h"

#include <algorithm>
#include <array>

#include "model/memory_rules.h"

namespace tidemark::model {
namespace {

// The order in which a person would look. A new rule is a function in one of the rules_*.cpp and a
// row here.
constexpr std::array kRules = {
    MemoryRule{"oom", judge_oom_kills},
    MemoryRule{"process", judge_address_space},
    MemoryRule{"cgroup", judge_cgroup_limits},
    MemoryRule{"swap", judge_swap},
    MemoryRule{"tmpfs", judge_tmpfs_mounts},
    MemoryRule{"tmpfs", judge_held_files},
    MemoryRule{"tmpfs", judge_orphan_segments},
    MemoryRule{"tmpfs", judge_unexplained_shmem},
    MemoryRule{"process", judge_processes},
    MemoryRule{"process", judge_thread_stacks},
    MemoryRule{"slab", judge_cache_groups},
    MemoryRule{"slab", judge_unreclaimable_slab},
    MemoryRule{"vmalloc", judge_vmalloc},
    MemoryRule{"page_tables", judge_page_tables},
    MemoryRule{"hugetlb", judge_unused_hugepages},
    MemoryRule{"sockets", judge_unread_sockets},
    MemoryRule{"balloon", judge_balloon},
    MemoryRule{"ghost", judge_ghost},
    MemoryRule{"counting", judge_counting},
    MemoryRule{"cache", judge_cache},
};

Finding nothing_found() {
  return {.severity = Severity::kInfo,
          .area = "all",
          .what = "Nothing stands out: no area holds more than its usual share.",
          .evidence = "every rule was asked; what could not be read stands in the coverage",
          .next =
              "compare two snapshots some hours apart: tidemark report --every 5m --for 2h "
              "--store DIR, then tidemark diff DIR"};
}

}  // namespace

std::span<const MemoryRule> memory_rules() {
  return kRules;
}

std::vector<Finding> judge_memory(const MemoryFacts& facts, const MemoryPolicy& policy) {
  std::vector<Finding> findings;
  for (const MemoryRule& rule : kRules) {
    for (Finding& finding : rule.judge(facts, policy)) {
      finding.area = rule.area;
      findings.push_back(std::move(finding));
    }
  }
  if (findings.empty()) findings.push_back(nothing_found());
  std::ranges::stable_sort(findings, std::greater(), &Finding::severity);
  return findings;
}

}  // namespace tidemark::model
