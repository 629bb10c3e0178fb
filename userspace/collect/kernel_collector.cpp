// SPDX-License-Identifier: Apache-2.0
#include "collect/kernel_collector.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "system/counters.h"
#include "system/host_root.h"
#include "system/slab.h"

namespace tidemark::collect {
namespace {

std::optional<std::vector<model::SlabCache>> read_caches() {
  const auto text = system::HostRoot().read("/proc/slabinfo");
  if (!text) return std::nullopt;
  auto caches = system::parse_slabinfo(*text, static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)));
  if (!caches) return std::nullopt;
  return std::move(*caches);
}

std::optional<uint64_t> read_used_pages() {
  const system::HostRoot root;
  (void)root.read("/proc/sys/vm/stat_refresh");  // adds up what each CPU has counted
  const auto vmstat = root.read("/proc/vmstat");
  const auto zoneinfo = root.read("/proc/zoneinfo");
  if (!vmstat || !zoneinfo) return std::nullopt;
  const auto counters = system::parse_named_values(*vmstat, "/proc/vmstat");
  const auto zones = system::parse_zoneinfo(*zoneinfo);
  if (!counters || !zones) return std::nullopt;
  const auto free_pages = counters->find("nr_free_pages");
  if (!free_pages) return std::nullopt;
  // Only differences of it are looked at, so any whole will do that is more than can be free.
  constexpr uint64_t kMoreThanAll = uint64_t{1} << 62;
  return kMoreThanAll - *free_pages - zones->per_cpu_list_pages;
}

}  // namespace

model::KernelBooks read_kernel_books(const std::map<std::string, uint64_t>& spare) {
  model::KernelBooks books;
  if (const auto caches = read_caches()) {
    books.active_objects.emplace();
    for (const model::SlabCache& cache : *caches)
      (*books.active_objects)[cache.name] += cache.active_objects;
    for (const auto& [name, count] : spare) {
      const auto found = books.active_objects->find(name);
      if (found != books.active_objects->end()) found->second -= std::min(count, found->second);
    }
  }
  books.used_pages = read_used_pages();
  return books;
}

CacheAliases read_cache_aliases() {
  CacheAliases aliases;
  auto caches = read_caches();
  const auto links = system::read_slab_links(system::HostRoot());
  if (!caches || !links) return aliases;
  system::add_aliases(*caches, *links);
  for (const model::SlabCache& cache : *caches) {
    if (!cache.aliases.empty()) aliases[cache.name] = cache.aliases;
  }
  return aliases;
}

Result<std::vector<std::string>> resolve_caches(const std::vector<std::string>& typed) {
  std::vector<std::string> names;
  if (typed.empty()) return names;
  const auto caches = read_caches();
  if (!caches) return fail("--cache needs /proc/slabinfo, which cannot be read: run as root");
  const CacheAliases aliases = read_cache_aliases();
  for (const std::string& word : typed) {
    std::string name = word;
    for (const auto& [cache, all] : aliases) {
      if (std::ranges::find(all, word) != all.end()) name = cache;
    }
    if (std::ranges::find(*caches, name, &model::SlabCache::name) == caches->end()) {
      return fail("no slab cache is called '{}': /proc/slabinfo and /sys/kernel/slab list them",
                  word);
    }
    if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
  }
  return names;
}

KernelCollector::KernelCollector(std::unique_ptr<sources::KernelMemory> source)
    : source_(std::move(source)) {}

// slabinfo is read once in vain: a CPU that has no slab of a cache takes one for the objects that
// the reading itself needs, and all of that slab counts as active.
Result<model::KernelBooks> KernelCollector::read_books() const {
  (void)read_caches();
  const auto spare = source_->spare_objects();
  if (!spare) return std::unexpected(spare.error());
  return read_kernel_books(*spare);
}

Status KernelCollector::open_gate(MonotonicTime now, WallTime wall) {
  auto books = read_books();
  if (!books) return std::unexpected(books.error());
  before_ = std::move(*books);
  source_->open_gate();
  started_ = now;
  started_wall_ = wall;
  return {};
}

Status KernelCollector::tick(MonotonicTime now) {
  return source_->grow_stacks(now.ns);
}

// What takes long comes first, while all is still counted.
Status KernelCollector::stop() {
  if (auto verified = source_->verify(); !verified) return verified;
  source_->drain();
  auto books = read_books();
  source_->stop();
  stopped_ = monotonic_now();
  if (!books) return std::unexpected(books.error());
  at_end_ = std::move(*books);
  return {};
}

Result<model::KernelSnapshot> KernelCollector::snapshot(MonotonicTime now) {
  if (!stopped_) {
    if (auto verified = source_->verify(); !verified) return std::unexpected(verified.error());
  }
  const MonotonicTime taken = stopped_.value_or(now);
  auto books = at_end_ ? Result<model::KernelBooks>(*at_end_) : read_books();
  if (!books) return std::unexpected(books.error());
  auto collected = source_->collect({started_.ns, taken.ns});
  if (!collected) return std::unexpected(collected.error());
  model::KernelSnapshot snapshot;
  snapshot.trace.started_ns = started_.ns;
  snapshot.trace.taken_ns = taken.ns;
  snapshot.trace.started_unix_ns = started_wall_.unix_ns;
  snapshot.trace.coverage = std::move(collected->coverage);
  snapshot.trace.counters = std::move(collected->counters);
  snapshot.trace.call_sites = std::move(collected->call_sites);
  snapshot.trace.stacks = std::move(collected->stacks);
  snapshot.other_stacks = std::move(collected->other_stacks);
  snapshot.stacks_since_ns = std::move(collected->stacks_since_ns);
  snapshot.reconcile = model::reconcile_caches(collected->tallies, before_, *books);
  if (collected->pages.allocated_pages + collected->pages.freed_pages > 0) {
    snapshot.reconcile.insert(snapshot.reconcile.begin(),
                              model::reconcile_pages(collected->pages, before_, *books));
  }
  snapshot.aliases = read_cache_aliases();
  for (model::Reconciled& row : snapshot.reconcile) {
    if (const auto found = snapshot.aliases.find(row.cache); found != snapshot.aliases.end())
      row.aliases = found->second;
  }
  return snapshot;
}

}  // namespace tidemark::collect
