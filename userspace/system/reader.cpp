// SPDX-License-Identifier: Apache-2.0
#include "system/reader.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>

#include "support/strings.h"
#include "system/cgroup_memory.h"
#include "system/counters.h"
#include "system/kernel_log.h"
#include "system/machine.h"
#include "system/slab.h"
#include "system/vmalloc.h"

namespace tidemark::system {
namespace {

using model::MemorySnapshot;
using Note = Result<std::string>;

// Reads the file of a pure parser and puts the value where it belongs.
template <typename Field, typename Parse>
Note read_into(const ReadContext& context, std::string_view path, Field& field, Parse parse) {
  const auto text = context.root.read(path);
  if (!text) return std::unexpected(text.error());
  auto value = parse(*text);
  if (!value) return std::unexpected(value.error());
  field = std::move(*value);
  return std::string();
}

// --- before the counters

Note read_online_cpus(const ReadContext& context, MemorySnapshot& snapshot) {
  return read_into(context, "/sys/devices/system/cpu/online", snapshot.online_cpus, parse_cpu_list);
}

Note read_possible_cpus(const ReadContext& context, MemorySnapshot& snapshot) {
  return read_into(context, "/sys/devices/system/cpu/possible", snapshot.possible_cpus,
                   parse_cpu_list);
}

// To read the file makes every CPU hand its counts in.
Note fold_counters(const ReadContext& context, MemorySnapshot& snapshot) {
  const auto text = context.root.read("/proc/sys/vm/stat_refresh");
  if (!text) return std::unexpected(text.error());
  snapshot.counters_folded = true;
  return std::string();
}

// --- the counters

Note read_meminfo(const ReadContext& context, MemorySnapshot& snapshot) {
  return read_into(context, "/proc/meminfo", snapshot.readings.back().meminfo, parse_meminfo);
}

Note read_vmstat(const ReadContext& context, MemorySnapshot& snapshot) {
  return read_into(context, "/proc/vmstat", snapshot.readings.back().vmstat,
                   [](std::string_view text) { return parse_named_values(text, "/proc/vmstat"); });
}

Note read_zoneinfo(const ReadContext& context, MemorySnapshot& snapshot) {
  return read_into(context, "/proc/zoneinfo", snapshot.readings.back().zones, parse_zoneinfo);
}

// --- areas

Note read_slab(const ReadContext& context, MemorySnapshot& snapshot) {
  return read_into(context, "/proc/slabinfo", snapshot.slab_caches, [&](std::string_view text) {
    return parse_slabinfo(text, snapshot.page_bytes);
  });
}

Note read_slab_names(const ReadContext& context, MemorySnapshot& snapshot) {
  if (!snapshot.slab_caches) return fail("needs /proc/slabinfo");
  const auto links = read_slab_links(context.root);
  if (!links) return std::unexpected(links.error());
  add_aliases(*snapshot.slab_caches, *links);
  if (!context.plan.slab_attributes) return std::string();
  for (model::SlabCache& cache : *snapshot.slab_caches) {
    const auto flag =
        context.root.read(fmt::format("/sys/kernel/slab/{}/reclaim_account", cache.name));
    if (flag) cache.reclaimable = trim(*flag) == "1";
  }
  return std::string();
}

Note read_vmalloc(const ReadContext& context, MemorySnapshot& snapshot) {
  return read_into(context, "/proc/vmallocinfo", snapshot.vmalloc, [&](std::string_view text) {
    return parse_vmallocinfo(text, snapshot.page_bytes);
  });
}

Note read_processes(const ReadContext& context, MemorySnapshot& snapshot) {
  auto processes = read_process_memory(context.root, context.plan.processes);
  if (!processes) return std::unexpected(processes.error());
  const std::size_t wanted = std::min(processes->size(), context.plan.processes.proportional);
  const auto known = static_cast<std::size_t>(std::ranges::count_if(
      *processes,
      [](const model::ProcessMemory& process) { return process.pss_bytes.has_value(); }));
  const std::size_t all = processes->size();
  snapshot.processes = std::move(*processes);
  if (wanted == 0) {
    return "PSS, USS and mappings are not in this report of a series: they are read as often as "
           "that costs little";
  }
  if (known >= wanted) return std::string();
  return fmt::format("PSS and USS of {} of {} processes could not be read: {}", wanted - known, all,
                     ::geteuid() == 0 ? "they ended meanwhile" : "run as root to see all of them");
}

Note read_cgroups(const ReadContext& context, MemorySnapshot& snapshot) {
  auto groups = read_cgroup_memory(context.root, context.plan.most_cgroups);
  if (!groups) return std::unexpected(groups.error());
  const bool is_full = groups->size() >= context.plan.most_cgroups;
  snapshot.cgroups = std::move(*groups);
  return is_full ? fmt::format("only the first {} groups", context.plan.most_cgroups)
                 : std::string();
}

Note read_swaps(const ReadContext& context, MemorySnapshot& snapshot) {
  return read_into(context, "/proc/swaps", snapshot.swaps, parse_swaps);
}

Note read_zram(const ReadContext& context, MemorySnapshot& snapshot) {
  auto names = context.root.list("/sys/block");
  if (!names) return std::unexpected(names.error());
  std::ranges::sort(*names);
  std::vector<model::ZramDevice> devices;
  for (const std::string& name : *names) {
    if (!name.starts_with("zram")) continue;
    const auto text = context.root.read(fmt::format("/sys/block/{}/mm_stat", name));
    if (!text) return std::unexpected(text.error());
    auto device = parse_zram_mm_stat(*text, name);
    if (!device) return std::unexpected(device.error());
    devices.push_back(std::move(*device));
  }
  snapshot.zram = std::move(devices);
  return std::string();
}

Note read_protocols(const ReadContext& context, MemorySnapshot& snapshot) {
  return read_into(context, "/proc/net/sockstat", snapshot.protocols, [&](std::string_view text) {
    return parse_sockstat(text, snapshot.page_bytes);
  });
}

Note read_free_blocks(const ReadContext& context, MemorySnapshot& snapshot) {
  return read_into(context, "/proc/buddyinfo", snapshot.free_blocks, parse_buddyinfo);
}

Note read_modules(const ReadContext& context, MemorySnapshot& snapshot) {
  const auto text = context.root.read("/proc/modules");
  if (!text) return std::unexpected(text.error());
  snapshot.modules = parse_modules(*text);
  return std::string();
}

Note read_log(const ReadContext& context, MemorySnapshot& snapshot) {
  auto log = read_kernel_log(context.root);
  if (!log) return std::unexpected(log.error());
  snapshot.kernel_log = std::move(*log);
  return std::string();
}

// --- what this kernel counts

// Debugfs where it is there, else what was said at boot, as long as the log holds it.
Note read_first_chunk(const ReadContext& context, MemorySnapshot& snapshot) {
  if (!snapshot.possible_cpus) return fail("needs the number of possible CPUs");
  std::optional<uint64_t> pages;
  if (const auto text = context.root.read("/sys/kernel/debug/percpu_stats")) {
    if (const auto parsed = parse_percpu_first_chunk_pages(*text, snapshot.page_bytes)) {
      pages = *parsed;
    }
  }
  if (!pages && snapshot.kernel_log) pages = snapshot.kernel_log->percpu_first_chunk_pages_per_cpu;
  uint64_t bytes = 0;
  if (!pages ||
      __builtin_mul_overflow(*pages, *snapshot.possible_cpus * snapshot.page_bytes, &bytes)) {
    return fail("neither debugfs (percpu_stats) nor the kernel log tells it");
  }
  snapshot.percpu_first_chunk_bytes = bytes;
  return std::string();
}

Note read_vmap_stack(const ReadContext& context, MemorySnapshot& snapshot) {
  if (snapshot.vmalloc && snapshot.vmalloc->kernel_stacks) {
    snapshot.stacks_in_vmalloc = true;
    return std::string();
  }
  const std::string config = fmt::format("/boot/config-{}", snapshot.kernel_release);
  if (const auto text = context.root.read(config)) {
    snapshot.stacks_in_vmalloc = parse_kernel_config(*text, "CONFIG_VMAP_STACK");
  } else if (snapshot.vmalloc) {
    snapshot.stacks_in_vmalloc = false;  // every task has a stack, and none is among the areas
  }
  if (snapshot.stacks_in_vmalloc) return std::string();
  return fail("neither /proc/vmallocinfo nor {} tells whether stacks are in vmalloc", config);
}

constexpr std::array kReaders = {
    Reader{"cpu_online", "/sys/devices/system/cpu/online", Turn::kBefore, read_online_cpus},
    Reader{"cpu_possible", "/sys/devices/system/cpu/possible", Turn::kBefore, read_possible_cpus},
    Reader{"stat_refresh", "/proc/sys/vm/stat_refresh", Turn::kBefore, fold_counters},
    Reader{"meminfo", "/proc/meminfo", Turn::kEachReading, read_meminfo},
    Reader{"vmstat", "/proc/vmstat", Turn::kEachReading, read_vmstat},
    Reader{"zoneinfo", "/proc/zoneinfo", Turn::kEachReading, read_zoneinfo},
    Reader{"slabinfo", "/proc/slabinfo", Turn::kAfter, read_slab},
    Reader{"slab_aliases", "/sys/kernel/slab", Turn::kAfter, read_slab_names},
    Reader{"vmallocinfo", "/proc/vmallocinfo", Turn::kAfter, read_vmalloc},
    Reader{"processes", "/proc", Turn::kAfter, read_processes},
    Reader{"cgroups", "/proc/self/mountinfo", Turn::kAfter, read_cgroups},
    Reader{"swaps", "/proc/swaps", Turn::kAfter, read_swaps},
    Reader{"zram", "/sys/block", Turn::kAfter, read_zram},
    Reader{"sockstat", "/proc/net/sockstat", Turn::kAfter, read_protocols},
    Reader{"buddyinfo", "/proc/buddyinfo", Turn::kAfter, read_free_blocks},
    Reader{"modules", "/proc/modules", Turn::kAfter, read_modules},
    Reader{"kernel_log", "/dev/kmsg", Turn::kAfter, read_log},
    // These two look at what the ones above have found.
    Reader{"percpu_first_chunk", "", Turn::kAfter, read_first_chunk},
    Reader{"vmap_stack", "", Turn::kAfter, read_vmap_stack},
};

model::Coverage coverage_of(const ReadContext& context, const Reader& reader, const Note& note) {
  if (note) {
    return {std::string(reader.name), model::HookState::kOn,
            note->empty() ? std::nullopt : std::optional(*note)};
  }
  const bool missing = !reader.path.empty() && !context.root.exists(reader.path);
  return {std::string(reader.name), missing ? model::HookState::kMissing : model::HookState::kOff,
          note.error().text};
}

void run_turn(const ReadContext& context, Turn turn, MemorySnapshot& snapshot,
              std::map<std::string_view, model::Coverage>& coverage) {
  for (const Reader& reader : kReaders) {
    if (reader.turn != turn) continue;
    coverage[reader.name] = coverage_of(context, reader, reader.read(context, snapshot));
  }
}

void pause(uint32_t milliseconds) {
  timespec left{.tv_sec = 0, .tv_nsec = static_cast<long>(milliseconds) * 1'000'000};
  while (::nanosleep(&left, &left) != 0) {
  }
}

}  // namespace

ReadPlan frequent_plan(PageTables page_tables) {
  const bool walked = page_tables == PageTables::kWalked;
  return {.readings = 3,
          .pause_ms = 2,
          .processes = {.proportional = walked ? 10u : 0u,
                        .mappings = walked ? 3u : 0u,
                        .shown_mappings = 4,
                        .stacks = walked},
          .most_cgroups = 256,
          .slab_attributes = false};
}

std::span<const Reader> readers() {
  return kReaders;
}

void read_memory(const ReadContext& context, MemorySnapshot& snapshot) {
  std::map<std::string_view, model::Coverage> coverage;
  run_turn(context, Turn::kBefore, snapshot, coverage);
  const uint32_t rounds = context.root.is_live() ? std::max(context.plan.readings, 1u) : 1;
  for (uint32_t round = 0; round < rounds; ++round) {
    if (round > 0) pause(context.plan.pause_ms);
    snapshot.readings.emplace_back();
    run_turn(context, Turn::kEachReading, snapshot, coverage);
  }
  run_turn(context, Turn::kAfter, snapshot, coverage);
  for (const Reader& reader : kReaders) snapshot.coverage.push_back(coverage.at(reader.name));
}

}  // namespace tidemark::system
