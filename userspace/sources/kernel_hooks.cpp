// SPDX-License-Identifier: Apache-2.0
#include "sources/kernel_hooks.h"

#include <algorithm>

namespace tidemark::sources {
namespace {

constexpr std::array kTracepoints = {
    TracepointHook{"kmalloc", "on_kmalloc", HookSpace::kSlab},
    // Those by node went with 6.1.
    TracepointHook{"kmalloc_node", "on_kmalloc_node", HookSpace::kSlab, HookNeed::kOptional},
    TracepointHook{"kmem_cache_alloc", "on_cache_alloc", HookSpace::kSlab},
    TracepointHook{"kmem_cache_alloc_node", "on_cache_alloc_node", HookSpace::kSlab,
                   HookNeed::kOptional},
    TracepointHook{"kfree", "on_kfree", HookSpace::kSlab},
    TracepointHook{"kmem_cache_free", "on_cache_free", HookSpace::kSlab},
    TracepointHook{"mm_page_alloc", "on_page_alloc", HookSpace::kPage},
    TracepointHook{"mm_page_free", "on_page_free", HookSpace::kPage},
    TracepointHook{"percpu_alloc_percpu", "on_percpu_alloc", HookSpace::kPercpu},
    TracepointHook{"percpu_free_percpu", "on_percpu_free", HookSpace::kPercpu},
};

constexpr std::array kFunctions = {
    FunctionHook{"kmem_cache_alloc_bulk",
                 {"kmem_cache_alloc_bulk_noprof", "kmem_cache_alloc_bulk"},
                 "on_kmem_alloc_bulk",
                 "on_kmem_alloc_bulk_return",
                 HookSpace::kSlab},
    // Also what kfree_rcu() has collected, until 6.17.
    FunctionHook{"kmem_cache_free_bulk",
                 {"kmem_cache_free_bulk"},
                 "on_kmem_free_bulk",
                 "",
                 HookSpace::kSlab},
    FunctionHook{"kfree_rcu into sheaves",
                 {"__kfree_rcu_sheaf"},
                 "on_kfree_rcu_sheaf",
                 "on_kfree_rcu_sheaf_return",
                 HookSpace::kSlab,
                 HookNeed::kOptional},  // since 6.18
    FunctionHook{"vmalloc",
                 {"__vmalloc_node_range_noprof", "__vmalloc_node_range"},
                 "on_kernel_vmalloc",
                 "on_kernel_vmalloc_return",
                 HookSpace::kVmalloc},
    FunctionHook{"vfree", {"remove_vm_area"}, "on_kernel_vfree", "", HookSpace::kVmalloc},
};

// What no hook of ours tells, on any kernel.
struct BlindSpot {
  std::string_view name;
  HookSpace space;
};
constexpr std::array kBlindSpots = {
    BlindSpot{"kmalloc_nolock", HookSpace::kSlab},
    BlindSpot{"alloc_pages_bulk", HookSpace::kPage},
    BlindSpot{"alloc_contig_range", HookSpace::kPage},
};

bool is_wanted(const Spaces& spaces, HookSpace space) {
  switch (space) {
    case HookSpace::kSlab:
      return spaces.slab;
    case HookSpace::kPage:
      return spaces.pages;
    case HookSpace::kVmalloc:
      return spaces.vmalloc;
    case HookSpace::kPercpu:
      return spaces.percpu;
  }
  return false;
}

HookPlan::Row row_of(const TracepointHook& hook, bool present) {
  HookPlan::Row row;
  row.space = hook.space;
  row.program = hook.program;
  row.on = present;
  row.coverage.hook = "raw_tp/" + std::string(hook.name);
  row.coverage.state = present ? model::HookState::kOn : model::HookState::kMissing;
  if (!present) row.coverage.reason = "this kernel has no such tracepoint";
  return row;
}

// The first of its names that this kernel has.
std::string function_of(const FunctionHook& hook, const HookFacts& facts) {
  const auto found = std::ranges::find_if(
      hook.functions, [&](std::string_view name) { return !name.empty() && facts.function(name); });
  return found == hook.functions.end() ? "" : std::string(*found);
}

HookPlan::Row row_of(const FunctionHook& hook, const HookFacts& facts) {
  HookPlan::Row row;
  row.space = hook.space;
  row.program = hook.program;
  row.return_program = hook.return_program;
  row.function = function_of(hook, facts);
  row.coverage.hook = "kprobe/" + std::string(hook.name);
  if (!facts.no_kprobes.empty()) {
    row.coverage.reason = "no tracepoint tells it, and " + facts.no_kprobes;
  } else if (row.function.empty()) {
    row.coverage.state = model::HookState::kMissing;
    row.coverage.reason = "this kernel has no such function";
  } else {
    row.on = true;
    row.coverage.state = model::HookState::kOn;
  }
  return row;
}

}  // namespace

std::span<const TracepointHook> tracepoint_hooks() {
  return kTracepoints;
}

std::span<const FunctionHook> function_hooks() {
  return kFunctions;
}

HookPlan plan_hooks(const Spaces& spaces, const HookFacts& facts) {
  HookPlan plan;
  for (const TracepointHook& hook : kTracepoints) {
    if (!is_wanted(spaces, hook.space)) continue;
    const bool present = facts.tracepoint(hook.name).has_value();
    if (present || hook.need == HookNeed::kRequired) plan.rows.push_back(row_of(hook, present));
  }
  for (const FunctionHook& hook : kFunctions) {
    if (!is_wanted(spaces, hook.space)) continue;
    const bool present = !function_of(hook, facts).empty();
    if (present || hook.need == HookNeed::kRequired) plan.rows.push_back(row_of(hook, facts));
  }
  // call_site, object, cache, ... since 6.1; call_site, object, size, ... before.
  if (const auto told = facts.tracepoint("kmem_cache_alloc"))
    plan.layout.alloc_tells_cache = told->size() > 2 && (*told)[2] == "struct kmem_cache *";
  // With the call site there are ten, without it seven.
  if (const auto told = facts.tracepoint("percpu_alloc_percpu"))
    plan.layout.percpu_tells_call_site = told->size() > 7;
  for (const BlindSpot& spot : kBlindSpots) {
    if (!is_wanted(spaces, spot.space)) continue;
    HookPlan::Row row;
    row.space = spot.space;
    row.coverage = {std::string(spot.name), model::HookState::kOff,
                    "no hook of tidemark tells it: what it gives out is not known"};
    plan.rows.push_back(std::move(row));
  }
  return plan;
}

}  // namespace tidemark::sources
