// SPDX-License-Identifier: Apache-2.0
//
// A machine with 8 GiB, two CPUs and a ghost of 20 MiB, whose counters tests change one by one.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "model/memory.h"
#include "model/memory_owners.h"

namespace memory_samples {

inline constexpr uint64_t kMemTotal = uint64_t{8} << 30;
inline constexpr uint64_t kGhost = 20u << 20;
inline constexpr uint64_t kPlant = 64u << 20;
inline constexpr int64_t kFirstChunk = 53 * 2 * 4096;

struct Sample {
  std::map<std::string, uint64_t> meminfo = {
      {"MemTotal", kMemTotal},
      {"MemFree", 0},
      {"MemAvailable", 6ull << 30},
      {"Buffers", 10 << 20},
      {"Cached", 1010 << 20},
      {"SwapCached", 0},
      {"Active", 700 << 20},
      {"Inactive", 800 << 20},
      {"Active(anon)", 300 << 20},
      {"Inactive(anon)", 210 << 20},
      {"Active(file)", 400 << 20},
      {"Inactive(file)", 590 << 20},
      {"Unevictable", 20 << 20},
      {"Mlocked", 20 << 20},
      {"SwapTotal", 0},
      {"SwapFree", 0},
      {"AnonPages", 500 << 20},
      {"Shmem", 30 << 20},
      {"KReclaimable", 100 << 20},
      {"Slab", 150 << 20},
      {"SReclaimable", 100 << 20},
      {"SUnreclaim", 50 << 20},
      {"KernelStack", 2 << 20},
      {"PageTables", 8 << 20},
      {"SecPageTables", 0},
      {"VmallocUsed", 16 << 20},
      {"VmallocChunk", 0},
      {"Percpu", 1 << 20},
      {"HardwareCorrupted", 0},
      {"HugePages_Total", 0},
      {"HugePages_Free", 0},
      {"HugePages_Rsvd", 0},
      {"Hugepagesize", 2 << 20},
      {"Hugetlb", 0},
      {"GPUActive", 0},
      {"GPUReclaim", 0},
      {"Bounce", 0},
  };
  std::map<std::string, uint64_t> vmstat = {
      {"nr_isolated_anon", 0}, {"nr_isolated_file", 0}, {"nr_zspages", 0}};
  tidemark::model::ZoneTotals zones{.per_cpu_list_pages = 5000, .vmstat_threshold_pages = 100};
  std::optional<uint64_t> first_chunk = kFirstChunk;
  std::optional<bool> stacks_in_vmalloc = true;
  std::optional<tidemark::model::VmallocInfo> vmalloc;
  bool folded = true;
  tidemark::model::MemoryOwners owners;

  Sample() {
    uint64_t used = kGhost + zones.per_cpu_list_pages * 4096 - kFirstChunk;
    for (const char* name :
         {"Active", "Inactive", "Unevictable", "Slab", "PageTables", "VmallocUsed", "Percpu"}) {
      used += meminfo.at(name);
    }
    meminfo["MemFree"] = kMemTotal - used;
  }

  [[nodiscard]] tidemark::model::MemoryReading reading() const {
    tidemark::model::MemoryReading made;
    made.meminfo.emplace();
    made.vmstat.emplace();
    for (const auto& [name, value] : meminfo) made.meminfo->set(name, value);
    for (const auto& [name, value] : vmstat) made.vmstat->set(name, value);
    made.zones = zones;
    return made;
  }

  [[nodiscard]] tidemark::model::MemorySnapshot snapshot() const {
    tidemark::model::MemorySnapshot made;
    made.taken_unix_ns = 1'700'000'000'000'000'000;
    made.kernel_release = "6.18.0";
    made.online_cpus = 2;
    made.possible_cpus = 2;
    made.counters_folded = folded;
    made.percpu_first_chunk_bytes = first_chunk;
    made.stacks_in_vmalloc = stacks_in_vmalloc;
    made.vmalloc = vmalloc;
    made.readings = {reading()};
    return made;
  }
};

}  // namespace memory_samples
