// SPDX-License-Identifier: Apache-2.0
//
// MemorySnapshot: one look at all memory of the machine, without tracing. Pure values, made by the
// readers of system/ and sources/, judged by attribution and the memory verdicts, said by report/.
// What could not be read is std::nullopt and has a row in `coverage` that says why; it is never 0.
//
//   MemorySnapshot ── readings     meminfo, vmstat and zoneinfo, read together, several times
//                  ├─ boot facts   what meminfo counts, and where, on this kernel
//                  ├─ areas        slab, vmalloc, processes, cgroups, swap, kernel log
//                  ├─ owners       who holds pages that no counter knows (memory_owners.h)
//                  └─ coverage     a row for each reader
//
// One more file of /proc is one reader (a row in system/reader.cpp) and one field here.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/ids.h"
#include "model/snapshot.h"

namespace tidemark::model {

// The names and values of a file of counters, as the kernel prints them. Names come and go from
// kernel to kernel, so the file is kept whole and asked by name. The unit is the file's: bytes for
// meminfo and cgroup memory.stat (kB are multiplied out), pages for vmstat.
class Counters {
 public:
  void set(std::string_view name, uint64_t value) { values_[std::string(name)] = value; }
  [[nodiscard]] std::optional<uint64_t> find(std::string_view name) const {
    const auto at = values_.find(name);
    return at == values_.end() ? std::nullopt : std::optional(at->second);
  }
  [[nodiscard]] bool empty() const { return values_.empty(); }
  [[nodiscard]] const std::map<std::string, uint64_t, std::less<>>& all() const { return values_; }

 private:
  std::map<std::string, uint64_t, std::less<>> values_;
};

// Of /proc/zoneinfo, over all zones and CPUs.
struct ZoneTotals {
  uint64_t per_cpu_list_pages = 0;      // free pages on per-CPU lists: not in MemFree
  uint64_t vmstat_threshold_pages = 0;  // what the CPUs together may hold back of one counter
};

// Counters that only make sense together, read within a millisecond.
struct MemoryReading {
  std::optional<Counters> meminfo;  // bytes; HugePages_* are pages
  std::optional<Counters> vmstat;   // pages (events are counts)
  std::optional<ZoneTotals> zones;
};

struct SlabCache {
  std::string name;
  uint64_t active_objects = 0;
  uint64_t objects = 0;
  uint64_t object_bytes = 0;  // the size that slabinfo prints: with the allocator's own rim
  uint64_t pages_per_slab = 0;
  uint64_t slabs = 0;
  uint64_t bytes = 0;                // slabs * pages_per_slab * page size
  std::optional<bool> reclaimable;   // none where /sys/kernel/slab does not say
  std::vector<std::string> aliases;  // all names that share the cache, its own included; sorted;
                                     // empty where it is not merged
};

// Areas of one caller in /proc/vmallocinfo.
struct VmallocCaller {
  std::string caller;  // "bpf_map_area_alloc+0x3d/0x50", as printed
  uint64_t bytes = 0;  // pages that vmalloc itself allocated
  uint64_t areas = 0;
};

struct VmallocInfo {
  uint64_t page_bytes = 0;     // of areas that vmalloc allocated the pages for: what is in MemTotal
  uint64_t mapped_bytes = 0;   // address space of vmap, ioremap and the like: no memory of its own
  bool kernel_stacks = false;  // stacks of tasks were seen among the areas (CONFIG_VMAP_STACK)
  std::vector<VmallocCaller> callers;  // largest first; those with pages
};

struct MemoryMapping {
  Address start;
  uint64_t size_bytes = 0;
  std::optional<uint64_t> rss_bytes;  // null where only maps was read
  std::optional<uint64_t> swap_bytes;
  std::string permissions;         // "rw-p"
  std::string path;                // file, "[heap]", "[stack]"; empty: anonymous
  std::vector<std::string> flags;  // VmFlags of smaps: "rd", "wr", "ht", ...
};

// Anonymous mappings of one size, each above a guard: the stacks of threads.
struct ThreadStacks {
  uint64_t count = 0;
  uint64_t each_bytes = 0;   // with the guard: what was asked for
  uint64_t total_bytes = 0;  // all such stacks of the process, of any size
};

struct ProcessMemory {
  Pid pid;
  std::string comm;
  std::optional<uint64_t> start_ticks;  // since boot: tells a pid that was used again
  uint64_t virtual_bytes = 0;
  uint64_t rss_bytes = 0;
  std::optional<uint64_t> rss_anon_bytes;
  std::optional<uint64_t> rss_file_bytes;
  std::optional<uint64_t> rss_shmem_bytes;
  std::optional<uint64_t> pss_bytes;
  std::optional<uint64_t> uss_bytes;
  std::optional<uint64_t> swap_bytes;
  std::optional<uint64_t> page_table_bytes;
  uint64_t threads = 0;
  std::optional<bool> is_32_bit;
  std::optional<ThreadStacks> thread_stacks;  // the most frequent size
  std::vector<MemoryMapping> largest_mappings;
};

struct CgroupMemory {
  std::string path;  // below the mount: "/system.slice/nginx.service"
  std::optional<uint64_t> current_bytes;
  std::optional<uint64_t> limit_bytes;   // none: no limit
  std::optional<uint64_t> kernel_bytes;  // slab, stacks, page tables, percpu, vmalloc, sockets
  std::optional<uint64_t> slab_bytes;
  std::optional<uint64_t> socket_bytes;
  std::optional<uint64_t> shmem_bytes;
  std::optional<uint64_t> anon_bytes;
  std::optional<uint64_t> file_bytes;
};

struct SwapDevice {
  std::string name;
  std::string type;  // "partition", "file"
  uint64_t size_bytes = 0;
  uint64_t used_bytes = 0;
};

// A compressed block device: what was written to it, and what it takes.
struct ZramDevice {
  std::string name;  // "zram0"
  uint64_t stored_bytes = 0;
  uint64_t used_bytes = 0;
};

// Of /proc/net/sockstat: memory of a protocol, in all network namespaces.
struct ProtocolMemory {
  std::string protocol;  // "TCP", "UDP", "FRAG"
  uint64_t bytes = 0;
};

// Free blocks of a zone by order (a block of order n is 2^n pages).
struct FreeBlocks {
  uint32_t node = 0;
  std::string zone;
  std::vector<uint64_t> count_by_order;
};

// An out-of-memory kill that the kernel log still holds.
struct OomKill {
  std::optional<double> uptime_seconds;
  Pid pid;
  std::string comm;
  bool in_cgroup = false;
  std::optional<uint64_t> total_vm_bytes;
  std::optional<uint64_t> anon_rss_bytes;
};

struct KernelLog {
  std::vector<OomKill> oom_kills;                            // oldest first
  std::optional<uint64_t> percpu_first_chunk_pages_per_cpu;  // "percpu: Embedded 53 pages/cpu"
};

struct MemorySnapshot {
  uint64_t taken_unix_ns = 0;
  uint64_t taken_ns = 0;  // monotonic
  std::string kernel_release;
  uint64_t page_bytes = 4096;
  std::optional<uint64_t> online_cpus;
  std::optional<uint64_t> possible_cpus;

  std::vector<MemoryReading> readings;  // at least one; some milliseconds apart
  bool counters_folded = false;         // vm/stat_refresh was read before: no CPU holds counts back

  // Boot memory that Percpu counts and MemTotal does not.
  std::optional<uint64_t> percpu_first_chunk_bytes;
  std::optional<bool> stacks_in_vmalloc;  // CONFIG_VMAP_STACK

  std::optional<std::vector<SlabCache>> slab_caches;
  std::optional<VmallocInfo> vmalloc;
  std::optional<std::vector<ProcessMemory>> processes;
  std::optional<std::vector<CgroupMemory>> cgroups;
  std::optional<std::vector<SwapDevice>> swaps;
  std::optional<std::vector<ZramDevice>> zram;
  std::optional<std::vector<ProtocolMemory>> protocols;
  std::optional<std::vector<FreeBlocks>> free_blocks;
  std::optional<KernelLog> kernel_log;
  std::optional<std::vector<std::string>> modules;  // names; tells which balloon drivers are in

  std::vector<Coverage> coverage;
};

}  // namespace tidemark::model
