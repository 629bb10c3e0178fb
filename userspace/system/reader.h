// SPDX-License-Identifier: Apache-2.0
//
// The table of readers: which file fills which field of a MemorySnapshot. One more file of /proc or
// /sys is a row in reader.cpp, a pure parser and a field in model/memory.h. A reader that fails
// leaves its field unset; read_memory() then writes the reason into the coverage.
#pragma once

#include <span>
#include <string_view>

#include "model/memory.h"
#include "support/result.h"
#include "system/host_root.h"
#include "system/process_memory.h"

namespace tidemark::system {

// How much a snapshot may cost.
struct ReadPlan {
  uint32_t readings = 5;  // of the counters, `pause` apart: their spread is part of the error
  uint32_t pause_ms = 2;
  ProcessDepth processes;
  std::size_t most_cgroups = 4096;
  bool slab_attributes = true;  // a small file for each cache: reclaimable or not
};

// A snapshot every few seconds. PSS and mappings make the kernel walk page tables, which takes as
// long as the processes are large: of the ten largest, or of none.
enum class PageTables { kWalked, kLeftAlone };
[[nodiscard]] ReadPlan frequent_plan(PageTables page_tables);

struct ReadContext {
  const HostRoot& root;
  const ReadPlan& plan;
};

// When a reader's turn comes. Counters first: what the other readers do moves them.
enum class Turn {
  kBefore,       // once, ahead of the counters
  kEachReading,  // into readings.back()
  kAfter,        // once
};

struct Reader {
  std::string_view name;  // of its row in the coverage
  std::string_view path;  // what it reads, or the directory; not there: the row says "missing"
  Turn turn;
  // What was partly read returns a note, which stands in the coverage beside "on"; empty: all of
  // it.
  Result<std::string> (*read)(const ReadContext& context, model::MemorySnapshot& snapshot);
};

[[nodiscard]] std::span<const Reader> readers();

// Runs them all. Time and the release of the kernel are the caller's to set.
void read_memory(const ReadContext& context, model::MemorySnapshot& snapshot);

}  // namespace tidemark::system
