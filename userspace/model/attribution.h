// SPDX-License-Identifier: Apache-2.0
//
// Attribution: every byte of MemTotal exactly once, and what remains: the ghost, memory that no
// line of meminfo counts. Pure: a snapshot in, sums out.
//
//   MemTotal = sum of rows + ghost        always, where all rows are known
//
// The error is how far the ghost may be off: pages that CPUs hold in batches, counters that they
// hold back, how much it moved between readings, and whatever this kernel does not tell. A ghost
// that is not larger than its error is reported as 0 and stands in the row counting_error, with its
// sign.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/memory.h"
#include "model/memory_owners.h"

namespace tidemark::model {

struct AttributionRow {
  std::string category;          // as in JSON: "free", "file_cache", ...
  std::optional<int64_t> bytes;  // only counting_error may be below 0
  std::string source;            // the fields that it is made of
};

// A part of the ghost whose owner is known.
struct GhostPart {
  std::string maker;   // "packet_ring", "pipe", "socket_queue", "balloon", ...
  uint64_t bytes = 0;  // of the ghost
  std::optional<Holder> holder;
  std::string detail;
};

struct ErrorPart {
  std::string_view why;
  uint64_t bytes = 0;
};

struct Ghost {
  std::optional<uint64_t> bytes;  // none: a row is unknown
  std::optional<uint64_t> error_bytes;
  std::vector<ErrorPart> error_parts;  // they add up to error_bytes
  std::vector<GhostPart> explained;    // widest first; together never more than `bytes`
  std::optional<uint64_t> unexplained_bytes;
  std::optional<std::string> unknown_because;
};

// The formula that people work out by hand, with one line for each thing that it leaves out.
struct FormulaLine {
  std::string_view name;
  std::optional<int64_t> bytes;  // what is subtracted
};
struct HandFormula {
  std::vector<FormulaLine> seed;  // MemTotal minus these is what the seed formula says
  std::optional<int64_t> seed_ghost;
  std::vector<FormulaLine> corrections;  // seed_ghost minus these is our figure
};

struct Attribution {
  std::optional<uint64_t> mem_total_bytes;
  std::vector<AttributionRow> rows;  // in the order of the table in attribution.cpp
  Ghost ghost;
  HandFormula formula;
  // The formula of most tools: Cached + AnonPages in place of the LRU lists, no per-CPU lists.
  std::optional<int64_t> naive_ghost_bytes;
  // The reading that the figures are from: that with the median ghost.
  std::size_t reading = 0;

  [[nodiscard]] std::optional<int64_t> find(std::string_view category) const;
};

[[nodiscard]] Attribution attribute(const MemorySnapshot& snapshot, const MemoryOwners& owners);

}  // namespace tidemark::model
