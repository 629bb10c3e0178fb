// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "model/memory_facts.h"
#include "model/memory_rules.h"
#include "model/slab_analysis.h"
#include "support/units.h"

namespace tidemark::model {
namespace {

constexpr std::string_view kUnmerge =
    "to see each user of a merged cache in slabinfo, boot with slab_nomerge (slub_nomerge on old "
    "kernels)";

std::vector<const SlabCache*> widest(const std::vector<SlabCache>& caches, std::size_t most) {
  std::vector<const SlabCache*> sorted;
  for (const SlabCache& cache : caches) sorted.push_back(&cache);
  std::ranges::sort(sorted, std::greater(), &SlabCache::bytes);
  if (sorted.size() > most) sorted.resize(most);
  return sorted;
}

}  // namespace

Findings judge_cache_groups(const MemoryFacts& facts, const MemoryPolicy& policy) {
  Findings findings;
  if (!facts.snapshot.slab_caches) return findings;
  for (const CacheGroup& group : find_cache_groups(*facts.snapshot.slab_caches, {})) {
    // Without MemTotal nobody can say whether it is much; as many objects as this are worth a look.
    const bool large = !facts.attribution.mem_total_bytes ||
                       is_share(facts, policy, group.bytes, policy.large_share);
    if (!large || findings.size() == policy.most_findings_a_rule) continue;
    std::string names;
    std::string evidence;
    std::string options;
    bool merged = false;
    for (const SlabCache* cache : group.caches) {
      names += fmt::format("{}{}", names.empty() ? "" : ", ", cache->name);
      evidence += fmt::format("{}{} {} objects of {} B ({})", evidence.empty() ? "" : "; ",
                              cache->name, format_count(cache->active_objects), cache->object_bytes,
                              format_bytes(cache->bytes));
      if (!cache->aliases.empty()) evidence += fmt::format(", shared by {}", cache_names(*cache));
      merged = merged || !cache->aliases.empty();
      options += fmt::format(" --cache {}", cache->name);
    }
    const double spread = 100.0 * static_cast<double>(group.most_objects - group.fewest_objects) /
                          static_cast<double>(group.most_objects);
    findings.push_back(
        {.severity = Severity::kSuspect,
         .area = {},
         .what = fmt::format("{} move together, as one object graph would: their object counts are "
                             "within {:.2f} %, {} in all.",
                             names, spread, format_bytes(group.bytes)),
         .evidence = evidence,
         .next = fmt::format("tidemark kernel{} tells who allocates, without a reboot{}{}", options,
                             merged ? "; " : "", merged ? kUnmerge : "")});
  }
  return findings;
}

Findings judge_unreclaimable_slab(const MemoryFacts& facts, const MemoryPolicy& policy) {
  const auto bytes = meminfo_bytes(facts, "SUnreclaim");
  if (!bytes || !is_share(facts, policy, *bytes, policy.huge_share)) return {};
  std::string evidence = share_text(facts, *bytes);
  std::string next = "run as root to see the caches";
  if (facts.snapshot.slab_caches) {
    std::vector<SlabCache> unreclaimable;
    for (const SlabCache& cache : *facts.snapshot.slab_caches) {
      if (!cache.reclaimable.value_or(false)) unreclaimable.push_back(cache);
    }
    const auto sorted = widest(unreclaimable, 3);
    for (const SlabCache* cache : sorted) {
      evidence += fmt::format("; {} {} in {} objects", cache_names(*cache),
                              format_bytes(cache->bytes), format_count(cache->active_objects));
    }
    if (!sorted.empty()) {
      next = fmt::format("tidemark kernel --cache {} tells the users of a merged cache apart; {}",
                         sorted.front()->name, kUnmerge);
    }
  }
  return {{.severity = Severity::kSuspect,
           .area = {},
           .what = fmt::format("The kernel's own objects take {} that cannot be reclaimed.",
                               format_bytes(*bytes)),
           .evidence = evidence,
           .next = next}};
}

Findings judge_vmalloc(const MemoryFacts& facts, const MemoryPolicy& policy) {
  const auto bytes = facts.attribution.find("vmalloc");
  if (!bytes || *bytes < 0) return {};
  const auto size = static_cast<uint64_t>(*bytes);
  if (!is_share(facts, policy, size, policy.large_share)) return {};
  std::string evidence = share_text(facts, size);
  if (facts.snapshot.vmalloc) {
    std::size_t shown = 0;
    for (const VmallocCaller& caller : facts.snapshot.vmalloc->callers) {
      if (shown++ == 3) break;
      evidence += fmt::format("; {} {} in {} area{}", caller.caller, format_bytes(caller.bytes),
                              caller.areas, plural(caller.areas));
    }
  }
  return {{.severity = Severity::kSuspect,
           .area = {},
           .what = fmt::format("vmalloc holds {}.", format_bytes(size)),
           .evidence = evidence,
           .next = "tidemark kernel --vmalloc"}};
}

Findings judge_page_tables(const MemoryFacts& facts, const MemoryPolicy& policy) {
  const auto bytes = meminfo_bytes(facts, "PageTables");
  if (!bytes || !is_share(facts, policy, *bytes, policy.large_share)) return {};
  const ProcessMemory* widest_process = nullptr;
  if (facts.snapshot.processes) {
    for (const ProcessMemory& process : *facts.snapshot.processes) {
      if (widest_process == nullptr ||
          process.page_table_bytes > widest_process->page_table_bytes) {
        widest_process = &process;
      }
    }
  }
  std::string evidence = share_text(facts, *bytes);
  if (widest_process != nullptr && widest_process->page_table_bytes) {
    evidence += fmt::format("; most of pid {} ({}): {}", widest_process->pid.value,
                            widest_process->comm, format_bytes(*widest_process->page_table_bytes));
  }
  return {{.severity = Severity::kSuspect,
           .area = {},
           .what = fmt::format("Page tables take {}.", format_bytes(*bytes)),
           .evidence = evidence,
           .next = "many processes that map the same large memory are the usual reason: huge pages "
                   "make the tables small"}};
}

Findings judge_unused_hugepages(const MemoryFacts& facts, const MemoryPolicy& policy) {
  const auto free = meminfo_bytes(facts, "HugePages_Free");
  const auto reserved = meminfo_bytes(facts, "HugePages_Rsvd");
  const auto each = meminfo_bytes(facts, "Hugepagesize");
  if (!free || !each || *free <= reserved.value_or(0)) return {};
  const uint64_t unused = (*free - reserved.value_or(0)) * *each;
  if (!is_share(facts, policy, unused, policy.large_share)) return {};
  return {
      {.severity = Severity::kSuspect,
       .area = {},
       .what = fmt::format("{} is set aside as huge pages that nobody uses.", format_bytes(unused)),
       .evidence = fmt::format("{}; HugePages_Free {}, of them reserved {}",
                               share_text(facts, unused), *free, reserved.value_or(0)),
       .next = "sysctl vm.nr_hugepages says how many; set it to what is needed"}};
}

}  // namespace tidemark::model
