// SPDX-License-Identifier: Apache-2.0
#include "model/kernel_analysis.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>

#include "support/units.h"

namespace tidemark::model {
namespace {

using Sites = std::vector<const CallSite*>;

// Slab call sites that keep what they allocate, most blocks first.
Sites growing_sites(const KernelSnapshot& snapshot, const KernelPolicy& policy) {
  Sites sites;
  for (const CallSite& site : snapshot.trace.call_sites) {
    if (site.kind != Kind::kSlab || site.live_count() < policy.least_objects) continue;
    const SiteShape shape = shape_of(site, policy.sites);
    // Uneven too: on a busy machine a leak comes in bursts, and that counts agree says enough.
    if (shape == SiteShape::kGrowing || shape == SiteShape::kBurst || shape == SiteShape::kUneven)
      sites.push_back(&site);
  }
  std::ranges::stable_sort(sites, std::greater{},
                           [](const CallSite* site) { return site->live_count(); });
  return sites;
}

std::string cache_of(const CallSite& site) {
  return site.place.cache.empty() ? "a cache without a name" : site.place.cache;
}

Finding together(const Sites& group) {
  std::string caches;
  uint64_t bytes = 0;
  for (const CallSite* site : group) {
    caches += fmt::format("{}{} ({})", caches.empty() ? "" : ", ", cache_of(*site),
                          format_count(site->live_count()));
    bytes += site->live_bytes();
  }
  return {.severity = Severity::kSuspect,
          .area = "slab",
          .what = fmt::format("and {} more call site{} grow together, as one graph of objects: {}",
                              group.size() - 1, group.size() == 2 ? "" : "s", format_bytes(bytes)),
          .evidence = "live objects by cache: " + caches,
          .next =
              "whoever forgets the outermost of these objects forgets them all: look for the "
              "one that refers to the others",
          .site = key_of(*group.front())};
}

// Where frees of the cache go unseen, what only looks kept may be free.
void doubt(Finding& finding, const KernelSnapshot& snapshot, const KernelPolicy& policy) {
  if (!finding.site || finding.site->kind != Kind::kSlab) return;
  const auto row = std::ranges::find_if(snapshot.reconcile, [&](const Reconciled& reconciled) {
    return reconciled.kind == Kind::kSlab && reconciled.cache == finding.site->place.cache;
  });
  const auto site = std::ranges::find(snapshot.trace.call_sites, *finding.site, key_of);
  if (row == snapshot.reconcile.end() || site == snapshot.trace.call_sites.end()) return;
  const auto too_many = static_cast<double>(-row->unseen().value_or(0));
  if (too_many < policy.most_unseen * static_cast<double>(site->live_count())) return;
  finding.severity = Severity::kInfo;
  finding.evidence += fmt::format("; of {} the kernel has {} less than we count: these may be free",
                                  row->cache, format_count(static_cast<uint64_t>(too_many)));
}

}  // namespace

std::vector<Finding> analyse_kernel(const KernelSnapshot& snapshot, const KernelPolicy& policy) {
  std::vector<Finding> findings;
  const Sites sites = growing_sites(snapshot, policy);
  for (std::size_t first = 0; first < sites.size();) {
    const auto most = static_cast<double>(sites[first]->live_count());
    std::size_t end = first + 1;
    while (end < sites.size() &&
           most - static_cast<double>(sites[end]->live_count()) <= policy.spread * most)
      ++end;
    std::set<std::string> caches;
    for (std::size_t at = first; at < end; ++at) caches.insert(cache_of(*sites[at]));
    if (caches.size() > 1) {
      findings.push_back(together({sites.begin() + static_cast<std::ptrdiff_t>(first),
                                   sites.begin() + static_cast<std::ptrdiff_t>(end)}));
    }
    first = end;
  }
  auto of_sites = analyse(snapshot.trace, policy.sites);
  for (Finding& finding : of_sites) doubt(finding, snapshot, policy);
  std::ranges::move(of_sites, std::back_inserter(findings));
  std::ranges::stable_sort(findings, std::greater{}, &Finding::severity);
  return findings;
}

}  // namespace tidemark::model
