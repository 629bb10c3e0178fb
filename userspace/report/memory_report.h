// SPDX-License-Identifier: Apache-2.0
//
// MemoryReport: what `tidemark report` says, finished: sorted, summed and judged. Text and JSON are
// written from it without looking anything up. What is not known is std::nullopt, never 0; a table
// that could not be read is std::nullopt too, and the coverage says why.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/attribution.h"
#include "model/finding.h"
#include "model/memory.h"
#include "model/memory_owners.h"
#include "model/passed_processes.h"
#include "model/shmem_account.h"
#include "model/slab_analysis.h"

namespace tidemark::report {

struct SlabArea {
  std::optional<uint64_t> bytes;
  std::optional<uint64_t> reclaimable_bytes;
  std::optional<uint64_t> unreclaimable_bytes;
  std::optional<std::vector<model::SlabCache>> caches;  // widest first
  std::vector<model::KmallocClass> kmalloc;             // classes with several copies
  struct Group {
    std::vector<std::string> caches;
    uint64_t fewest_objects = 0;
    uint64_t most_objects = 0;
    uint64_t bytes = 0;
  };
  std::vector<Group> moving_together;
};

struct VmallocArea {
  std::optional<uint64_t> bytes;
  std::optional<std::vector<model::VmallocCaller>> callers;  // widest first
};

struct ShmemArea {
  std::optional<uint64_t> shmem_bytes;
  model::ShmemAccount account;
  std::vector<model::TmpfsMount> mounts;  // widest first, as all of these
  std::vector<model::HeldFile> memfds;
  std::vector<model::HeldFile> deleted_files;
  std::vector<model::SysvSegment> segments;
};

struct MemoryReport {
  std::string tool_version;
  std::string kernel_release;
  uint64_t taken_unix_ns = 0;
  std::optional<uint64_t> mem_available_bytes;
  std::optional<uint64_t> swap_total_bytes;
  std::optional<uint64_t> swap_free_bytes;
  model::Attribution attribution;
  SlabArea slab;
  VmallocArea vmalloc;
  std::vector<model::Socket> sockets;  // widest first
  std::optional<std::vector<model::ProtocolMemory>> protocols;
  ShmemArea shmem;
  std::vector<model::BpfMap> bpf_maps;
  std::optional<std::vector<model::ProcessMemory>> processes;  // widest first
  // In a series: of processes that are in no report, since the one before. None: nobody watched.
  std::optional<std::vector<model::PassedName>> passed;
  std::optional<std::vector<model::CgroupMemory>> cgroups;  // by kernel memory, widest first
  std::optional<std::vector<model::SwapDevice>> swaps;
  std::optional<std::vector<model::ZramDevice>> zram;
  std::optional<std::vector<model::FreeBlocks>> free_blocks;
  std::optional<model::Balloon> balloon;
  std::vector<model::OomKill> oom_kills;
  std::vector<model::Finding> verdicts;
  std::vector<model::Coverage> coverage;
};

// Pure: judges, sorts and sums.
[[nodiscard]] MemoryReport build_memory_report(const model::MemorySnapshot& snapshot,
                                               const model::MemoryOwners& owners);

struct MemoryTextOptions {
  std::size_t top = 10;  // rows of each table
  bool color = false;
  bool explain = true;
};

enum class JsonLines { kMany, kOne };

[[nodiscard]] std::string write_memory_text(const MemoryReport& report,
                                            const MemoryTextOptions& options);
// "tidemark.report/1"
[[nodiscard]] std::string write_memory_json(const MemoryReport& report, JsonLines lines);

}  // namespace tidemark::report
