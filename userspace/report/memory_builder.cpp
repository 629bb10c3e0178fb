// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "model/memory_verdicts.h"
#include "report/memory_report.h"

namespace tidemark::report {
namespace {

const model::Counters* meminfo_of(const model::MemorySnapshot& snapshot, std::size_t reading) {
  if (reading >= snapshot.readings.size()) return nullptr;
  const auto& meminfo = snapshot.readings[reading].meminfo;
  return meminfo ? &*meminfo : nullptr;
}

template <typename Rows, typename Key>
Rows widest_first(Rows rows, Key key) {
  std::ranges::stable_sort(rows, std::greater(), key);
  return rows;
}

SlabArea slab_area(const model::MemorySnapshot& snapshot, const model::Counters* meminfo) {
  SlabArea area;
  if (meminfo != nullptr) {
    area.bytes = meminfo->find("Slab");
    area.reclaimable_bytes = meminfo->find("SReclaimable");
    area.unreclaimable_bytes = meminfo->find("SUnreclaim");
  }
  if (!snapshot.slab_caches) return area;
  area.caches = widest_first(*snapshot.slab_caches, &model::SlabCache::bytes);
  for (model::KmallocClass& kmalloc : model::sum_kmalloc_classes(*snapshot.slab_caches)) {
    if (kmalloc.copies.size() > 1) area.kmalloc.push_back(std::move(kmalloc));
  }
  for (const model::CacheGroup& group : model::find_cache_groups(*snapshot.slab_caches, {})) {
    SlabArea::Group row{.caches = {},
                        .fewest_objects = group.fewest_objects,
                        .most_objects = group.most_objects,
                        .bytes = group.bytes};
    for (const model::SlabCache* cache : group.caches) row.caches.push_back(cache->name);
    area.moving_together.push_back(std::move(row));
  }
  return area;
}

VmallocArea vmalloc_area(const model::MemorySnapshot& snapshot,
                         const model::Attribution& attribution) {
  VmallocArea area;
  const auto bytes = attribution.find("vmalloc");
  if (bytes && *bytes >= 0) area.bytes = static_cast<uint64_t>(*bytes);
  if (snapshot.vmalloc) area.callers = snapshot.vmalloc->callers;
  return area;
}

ShmemArea shmem_area(const model::MemoryOwners& owners, const model::Counters* meminfo) {
  ShmemArea area;
  if (meminfo != nullptr) area.shmem_bytes = meminfo->find("Shmem");
  area.account = model::account_shmem(area.shmem_bytes, owners);
  area.mounts = widest_first(owners.tmpfs, &model::TmpfsMount::bytes);
  area.memfds = widest_first(owners.memfds, &model::HeldFile::bytes);
  area.deleted_files = widest_first(owners.deleted_files, &model::HeldFile::bytes);
  area.segments = widest_first(owners.sysv_segments, [](const model::SysvSegment& segment) {
    return segment.resident_bytes + segment.swap_bytes;
  });
  return area;
}

}  // namespace

MemoryReport build_memory_report(const model::MemorySnapshot& snapshot,
                                 const model::MemoryOwners& owners) {
  MemoryReport report;
  report.tool_version = TIDEMARK_VERSION;
  report.kernel_release = snapshot.kernel_release;
  report.taken_unix_ns = snapshot.taken_unix_ns;
  report.attribution = model::attribute(snapshot, owners);
  const model::Counters* meminfo = meminfo_of(snapshot, report.attribution.reading);
  if (meminfo != nullptr) {
    report.mem_available_bytes = meminfo->find("MemAvailable");
    report.swap_total_bytes = meminfo->find("SwapTotal");
    report.swap_free_bytes = meminfo->find("SwapFree");
  }
  report.slab = slab_area(snapshot, meminfo);
  report.vmalloc = vmalloc_area(snapshot, report.attribution);
  report.sockets = widest_first(owners.sockets, &model::Socket::bytes);
  report.protocols = snapshot.protocols;
  report.shmem = shmem_area(owners, meminfo);
  report.bpf_maps = widest_first(owners.bpf_maps, &model::BpfMap::bytes);
  if (snapshot.processes) {
    report.processes = widest_first(*snapshot.processes, &model::ProcessMemory::rss_bytes);
  }
  if (snapshot.cgroups) {
    report.cgroups = widest_first(*snapshot.cgroups, &model::CgroupMemory::kernel_bytes);
  }
  report.swaps = snapshot.swaps;
  report.zram = snapshot.zram;
  report.free_blocks = snapshot.free_blocks;
  report.balloon = owners.balloon;
  if (snapshot.kernel_log) report.oom_kills = snapshot.kernel_log->oom_kills;
  report.verdicts = model::judge_memory({snapshot, owners, report.attribution}, {});
  report.coverage = snapshot.coverage;
  report.coverage.insert(report.coverage.end(), owners.coverage.begin(), owners.coverage.end());
  return report;
}

}  // namespace tidemark::report
