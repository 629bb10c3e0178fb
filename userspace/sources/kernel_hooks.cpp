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
                 {"", "trace_kmem_alloc_bulk"},
                 {"on_kmem_alloc_bulk", "on_kmem_alloc_bulk_return"},
                 HookSpace::kSlab},
    // Also what kfree_rcu() has collected, until 6.17.
    FunctionHook{"kmem_cache_free_bulk",
                 {"kmem_cache_free_bulk"},
                 {"trace_kmem_free_bulk", ""},
                 {"on_kmem_free_bulk", ""},
                 HookSpace::kSlab},
    FunctionHook{"kfree_rcu into sheaves",
                 {"__kfree_rcu_sheaf"},
                 {"", "trace_kfree_rcu_sheaf"},
                 {"on_kfree_rcu_sheaf", "on_kfree_rcu_sheaf_return"},
                 HookSpace::kSlab,
                 HookNeed::kOptional},  // since 6.18, as both of the next
    FunctionHook{"kmalloc_nolock",
                 {"_kmalloc_nolock_noprof", "kmalloc_nolock_noprof"},
                 {"", "trace_kmalloc_nolock"},
                 {"on_kmalloc_nolock", "on_kmalloc_nolock_return"},
                 HookSpace::kSlab,
                 HookNeed::kOptional},
    FunctionHook{"kfree_nolock",
                 {"kfree_nolock"},
                 {"trace_kfree_nolock", ""},
                 {"on_kfree_nolock", ""},
                 HookSpace::kSlab,
                 HookNeed::kOptional},
    FunctionHook{"alloc_pages_bulk",
                 {"alloc_pages_bulk_noprof", "__alloc_pages_bulk"},
                 {"trace_pages_bulk", "trace_pages_bulk_return"},
                 {"on_pages_bulk", "on_pages_bulk_return"},
                 HookSpace::kPage,
                 HookNeed::kOptional},  // since 5.13
    FunctionHook{
        "alloc_contig_range",
        {"alloc_contig_frozen_range_noprof", "alloc_contig_range_noprof", "alloc_contig_range"},
        {"", "trace_contig"},
        {"on_contig", "on_contig_return"},
        HookSpace::kPage,
        HookNeed::kOptional},
    FunctionHook{"vmalloc",
                 {"__vmalloc_node_range_noprof", "__vmalloc_node_range"},
                 {"trace_kernel_vmalloc", "trace_kernel_vmalloc_return"},
                 {"on_kernel_vmalloc", "on_kernel_vmalloc_return"},
                 HookSpace::kVmalloc},
    FunctionHook{"vfree",
                 {"remove_vm_area"},
                 {"trace_kernel_vfree", ""},
                 {"on_kernel_vfree", ""},
                 HookSpace::kVmalloc},
};

constexpr ProgramPair kByCache{"probe_cache_alloc", "probe_object_return"};
constexpr ProgramPair kBySize{"probe_kmalloc", "probe_object_return"};

constexpr std::array kSubstitutes = {
    SubstituteHook{"kmem_cache_alloc",
                   {"kmem_cache_alloc_noprof", "kmem_cache_alloc"},
                   kByCache,
                   HookSpace::kSlab,
                   HookNeed::kRequired},
    SubstituteHook{"kmem_cache_alloc_node",
                   {"kmem_cache_alloc_node_noprof", "kmem_cache_alloc_node"},
                   kByCache,
                   HookSpace::kSlab},
    SubstituteHook{"kmem_cache_alloc_lru",
                   {"kmem_cache_alloc_lru_noprof", "kmem_cache_alloc_lru"},
                   kByCache,
                   HookSpace::kSlab},
    SubstituteHook{"kmem_cache_alloc_from_sheaf",
                   {"kmem_cache_alloc_from_sheaf_noprof"},
                   kByCache,
                   HookSpace::kSlab},
    SubstituteHook{"kmalloc of a constant size",
                   {"__kmalloc_cache_noprof", "kmalloc_trace", "kmem_cache_alloc_trace"},
                   {"probe_kmalloc_cache", "probe_object_return"},
                   HookSpace::kSlab},
    SubstituteHook{
        "kmalloc_node of a constant size",
        {"__kmalloc_cache_node_noprof", "kmalloc_node_trace", "kmem_cache_alloc_node_trace"},
        {"probe_kmalloc_cache_node", "probe_object_return"},
        HookSpace::kSlab},
    SubstituteHook{"kmalloc",
                   {"__kmalloc_noprof", "__kmalloc"},
                   kBySize,
                   HookSpace::kSlab,
                   HookNeed::kRequired},
    SubstituteHook{
        "kmalloc_node", {"__kmalloc_node_noprof", "__kmalloc_node"}, kBySize, HookSpace::kSlab},
    SubstituteHook{"kmalloc_track_caller", {"__kmalloc_track_caller"}, kBySize, HookSpace::kSlab},
    SubstituteHook{"kmalloc_node_track_caller",
                   {"__kmalloc_node_track_caller_noprof", "__kmalloc_node_track_caller"},
                   kBySize,
                   HookSpace::kSlab},
    SubstituteHook{"large kmalloc",
                   {"__kmalloc_large_noprof", "kmalloc_large", "kmalloc_order_trace"},
                   kBySize,
                   HookSpace::kSlab},
    SubstituteHook{"large kmalloc_node",
                   {"__kmalloc_large_node_noprof", "kmalloc_large_node"},
                   kBySize,
                   HookSpace::kSlab},
    SubstituteHook{"kfree", {"kfree"}, {"probe_kfree", ""}, HookSpace::kSlab, HookNeed::kRequired},
    SubstituteHook{"kmem_cache_free",
                   {"kmem_cache_free"},
                   {"probe_cache_free", ""},
                   HookSpace::kSlab,
                   HookNeed::kRequired},
    SubstituteHook{"alloc_pages",
                   {"__alloc_frozen_pages_noprof", "__alloc_pages_noprof", "__alloc_pages",
                    "__alloc_pages_nodemask"},
                   {"probe_pages", "probe_pages_return"},
                   HookSpace::kPage,
                   HookNeed::kRequired},
    SubstituteHook{"free_page",
                   {"__free_frozen_pages", "free_unref_page"},
                   {"probe_page_free", ""},
                   HookSpace::kPage,
                   HookNeed::kRequired},
    // Where it is not called by the one above.
    SubstituteHook{"free_pages of a high order",
                   {"__free_pages_ok"},
                   {"probe_pages_free", ""},
                   HookSpace::kPage,
                   HookNeed::kOptional,
                   "free_unref_page_list"},
    SubstituteHook{"free_pages of a list",
                   {"free_unref_page_list"},
                   {"probe_page_list_free", ""},
                   HookSpace::kPage},
    SubstituteHook{"free_pages of a batch",
                   {"free_unref_folios"},
                   {"probe_folios_free", ""},
                   HookSpace::kPage},
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

HookPlan::Row row_of(const TracepointHook& hook, bool present, HookMode mode) {
  HookPlan::Row row;
  row.space = hook.space;
  row.program = hook.program;
  row.coverage.hook = "raw_tp/" + std::string(hook.name);
  if (mode == HookMode::kKprobes) {
    row.coverage.reason = "--hooks kprobe leaves tracepoints out";
  } else if (!present) {
    row.coverage.state = model::HookState::kMissing;
    row.coverage.reason = "this kernel has no such tracepoint";
  } else {
    row.on = true;
    row.coverage.state = model::HookState::kOn;
  }
  return row;
}

// The first of its names that this kernel has.
std::string function_of(std::span<const std::string_view> names, const HookFacts& facts) {
  const auto found = std::ranges::find_if(
      names, [&](std::string_view name) { return !name.empty() && facts.function(name); });
  return found == names.end() ? "" : std::string(*found);
}

void turn_on(HookPlan::Row& row, HookTier tier, const ProgramPair& programs) {
  row.tier = tier;
  row.program = programs.entry;
  row.return_program = programs.exit;
  row.on = true;
  row.coverage.state = model::HookState::kOn;
}

// The cheapest tier that may be used and that the kernel has.
HookPlan::Row row_of(const FunctionHook& hook, HookMode mode, const HookFacts& facts) {
  HookPlan::Row row;
  row.space = hook.space;
  row.function = function_of(hook.functions, facts);
  row.coverage.hook = "function/" + std::string(hook.name);
  if (mode == HookMode::kTracepoints) {
    row.coverage.reason = "no tracepoint tells it, and --hooks tracepoints leaves functions out";
    return row;
  }
  if (row.function.empty()) {
    row.coverage.state = model::HookState::kMissing;
    row.coverage.reason = "this kernel has no such function";
    return row;
  }
  std::string reason = "no tracepoint tells it";
  if (mode != HookMode::kKprobes) {
    const std::string refused = facts.no_trampoline(row.function);
    if (refused.empty()) {
      turn_on(row, HookTier::kTrampoline, hook.trampoline);
      row.coverage.hook = "fentry/" + std::string(hook.name);
      return row;
    }
    reason += "; " + refused;
  }
  if (mode == HookMode::kTracing) {
    reason += "; --hooks tracing leaves kprobes out";
  } else if (!facts.no_kprobes.empty()) {
    reason += "; " + facts.no_kprobes;
  } else {
    turn_on(row, HookTier::kKprobe, hook.kprobe);
    row.coverage.hook = "kprobe/" + std::string(hook.name);
    return row;
  }
  row.coverage.reason = std::move(reason);
  return row;
}

HookPlan::Row row_of(const SubstituteHook& hook, const HookFacts& facts) {
  HookPlan::Row row;
  row.space = hook.space;
  row.tier = HookTier::kKprobe;
  row.function = function_of(hook.functions, facts);
  row.coverage.hook = "kprobe/" + std::string(hook.name);
  if (!facts.no_kprobes.empty()) {
    row.coverage.reason = facts.no_kprobes;
  } else if (row.function.empty()) {
    row.coverage.state = model::HookState::kMissing;
    row.coverage.reason = "this kernel has no such function";
  } else {
    turn_on(row, HookTier::kKprobe, hook.kprobe);
  }
  return row;
}

bool applies(const SubstituteHook& hook, const HookFacts& facts) {
  if (!hook.beside.empty() && !facts.function(hook.beside)) return false;
  return hook.need == HookNeed::kRequired || !function_of(hook.functions, facts).empty();
}

EventLayout layout_of(const HookFacts& facts) {
  EventLayout layout;
  // call_site, object, cache, ... since 6.1; call_site, object, size, ... before.
  if (const auto told = facts.tracepoint("kmem_cache_alloc"))
    layout.alloc_tells_cache = told->size() > 2 && (*told)[2] == "struct kmem_cache *";
  // With the call site there are ten, without it seven.
  if (const auto told = facts.tracepoint("percpu_alloc_percpu"))
    layout.percpu_tells_call_site = told->size() > 7;
  return layout;
}

}  // namespace

HookPlan plan_hooks(const Spaces& spaces, HookMode mode, const HookFacts& facts) {
  HookPlan plan;
  plan.layout = layout_of(facts);
  for (const TracepointHook& hook : kTracepoints) {
    if (!is_wanted(spaces, hook.space)) continue;
    const bool present = facts.tracepoint(hook.name).has_value();
    if (present || hook.need == HookNeed::kRequired)
      plan.rows.push_back(row_of(hook, present, mode));
  }
  if (mode == HookMode::kKprobes) {
    for (const SubstituteHook& hook : kSubstitutes) {
      if (is_wanted(spaces, hook.space) && applies(hook, facts))
        plan.rows.push_back(row_of(hook, facts));
    }
  }
  for (const FunctionHook& hook : kFunctions) {
    if (!is_wanted(spaces, hook.space)) continue;
    const bool present = !function_of(hook.functions, facts).empty();
    if (present || hook.need == HookNeed::kRequired) plan.rows.push_back(row_of(hook, mode, facts));
  }
  return plan;
}

}  // namespace tidemark::sources
