// SPDX-License-Identifier: Apache-2.0
#include "collect/worker_sums.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "model/site_key.h"
#include "model/stack_index.h"

namespace tidemark::collect {
namespace {

// What two workers' call sites have in common. Frames outside of files make it one process's own.
struct CommonKey {
  model::Kind kind = model::Kind::kHeap;
  std::string allocator;
  model::Purpose purpose = model::Purpose::kNone;
  std::string comm;
  model::StackEnd end = model::StackEnd::kBroken;
  std::vector<Place> frames;
  std::optional<model::SiteKey> own;
  friend auto operator<=>(const CommonKey&, const CommonKey&) = default;
};

using Targets = std::unordered_map<model::Generation, const model::Target*>;

CommonKey key_of(const model::CallSite& site, const Targets& targets,
                 const model::StackIndex& stacks, const PlaceOf& place_of) {
  CommonKey key;
  key.kind = site.kind;
  key.allocator = site.allocator;
  key.purpose = site.purpose;
  if (const auto target = targets.find(site.owner); target != targets.end()) {
    key.comm = target->second->comm;
  }
  const auto stack = stacks.find(site.stack);
  if (stack == stacks.end()) {
    key.own = model::key_of(site);
    return key;
  }
  key.end = stack->second->end;
  for (const model::Address address : stack->second->frames) {
    const auto place = place_of(site.owner, address);
    if (!place) {
      key.own = model::key_of(site);
      return key;
    }
    key.frames.push_back(*place);
  }
  return key;
}

bool same_process(const model::CallSite& a, const model::CallSite& b, const Targets& targets) {
  const auto one = targets.find(a.owner);
  const auto other = targets.find(b.owner);
  return one != targets.end() && other != targets.end() && one->second->pid == other->second->pid;
}

}  // namespace

void sum_workers(model::Snapshot& snapshot, const PlaceOf& place_of) {
  Targets targets;
  for (const model::Target& target : snapshot.targets) targets.emplace(target.generation, &target);
  const model::StackIndex stacks = model::index_stacks(snapshot.stacks);
  std::ranges::sort(snapshot.call_sites, {}, [](const model::CallSite& site) {
    return std::pair(site.owner, model::key_of(site));
  });
  std::map<CommonKey, std::size_t> index;
  std::vector<model::CallSite> sums;
  for (const model::CallSite& site : snapshot.call_sites) {
    const auto [place, is_new] =
        index.try_emplace(key_of(site, targets, stacks, place_of), sums.size());
    if (is_new) {
      sums.push_back(site);
      continue;
    }
    model::CallSite& sum = sums[place->second];
    sum.of_several_processes |= !same_process(sum, site, targets);
    model::add_to(sum, site);
  }
  snapshot.call_sites = std::move(sums);
}

}  // namespace tidemark::collect
