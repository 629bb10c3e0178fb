// SPDX-License-Identifier: Apache-2.0
//
// What /proc/PID says of a process's memory: status and stat (cheap), smaps_rollup and smaps (the
// kernel walks the page tables: some microseconds for each MiB), maps (cheap). Parsers are pure.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "model/memory.h"
#include "support/result.h"
#include "system/host_root.h"

namespace tidemark::system {

// From /proc/PID/status; none for a kernel thread, an error for a file that is cut off.
[[nodiscard]] Result<std::optional<model::ProcessMemory>> parse_memory_status(
    std::string_view text);

// When the process started, in clock ticks since boot, from /proc/PID/stat.
[[nodiscard]] std::optional<uint64_t> parse_start_ticks(std::string_view text);

struct ProportionalSize {
  uint64_t pss_bytes = 0;
  uint64_t uss_bytes = 0;  // Private_Clean + Private_Dirty
};
// From smaps_rollup, or from smaps, whose sums are taken.
[[nodiscard]] Result<ProportionalSize> parse_proportional_size(std::string_view text);

// From maps or smaps, in the order of the file.
[[nodiscard]] std::vector<model::MemoryMapping> parse_memory_mappings(std::string_view text);

// An anonymous writable mapping right above its guard, when at least two have the same size.
[[nodiscard]] std::optional<model::ThreadStacks> find_thread_stacks(
    const std::vector<model::MemoryMapping>& mappings);

// No mapping above 4 GiB; the vsyscall page, which every 64-bit process has, is one.
[[nodiscard]] bool is_32_bit(const std::vector<model::MemoryMapping>& mappings);

// How closely the processes are looked at: by the largest RSS first. Kernel threads are left out.
struct ProcessDepth {
  std::size_t proportional = SIZE_MAX;  // smaps_rollup of so many
  std::size_t mappings = 20;            // smaps of so many
  std::size_t shown_mappings = 8;       // kept of each
  bool stacks = true;                   // maps of whoever may have many thread stacks
};
[[nodiscard]] Result<std::vector<model::ProcessMemory>> read_process_memory(
    const HostRoot& root, const ProcessDepth& depth);

}  // namespace tidemark::system
