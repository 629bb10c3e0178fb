// SPDX-License-Identifier: Apache-2.0
//
// What grew between two memory reports, or two traces. Pure: two summaries in, ranks out. A
// quantity is a name in an area, with bytes; what is in one of the two only counts as 0 in the
// other, but a quantity that could not be read is in neither.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/passed_processes.h"

namespace tidemark::model {

struct Quantity {
  std::string area;  // "memory", "ghost", "process", "slab", "vmalloc", "socket", "call_site", ...
  std::string name;  // "slab_unreclaimable", "nginx (4711)", "kmalloc-256", ...
  std::string key;   // tells two of the same name apart; empty: the name does
  uint64_t bytes = 0;
  std::optional<uint64_t> limit_bytes;  // of a control group
};

// Of what a document is: only those of one kind are compared.
enum class Saved { kReport, kTrace };

struct MemorySummary {
  uint64_t taken_unix_ns = 0;
  std::optional<uint64_t> available_bytes;  // MemAvailable
  std::vector<Quantity> quantities;
  Saved what = Saved::kReport;
  std::vector<PassedName> passed;  // of a series: since the report before, and in none
};

struct Growth {
  std::string area;
  std::string name;
  uint64_t before_bytes = 0;
  uint64_t after_bytes = 0;
  int64_t change_bytes = 0;
  std::optional<double> bytes_per_hour;     // none: no time has passed
  std::optional<uint64_t> time_left_ns;     // until what it grows into is used up, at this rate
  std::optional<std::string> time_left_of;  // "MemAvailable", "the limit of the group"
};

// A process that is in neither end, but was in a snapshot between them; or all of a name that came
// and went between snapshots.
struct Passing {
  std::string name;
  uint64_t count = 1;
  std::optional<uint64_t> peak_bytes;
  uint64_t first_seen_unix_ns = 0;
  uint64_t last_seen_unix_ns = 0;
};

struct MemoryDiff {
  uint64_t before_unix_ns = 0;
  uint64_t after_unix_ns = 0;
  std::optional<int64_t> available_change_bytes;
  std::vector<Growth> rows;      // what grew most first; what shrank last; what stayed is left out
  std::vector<Passing> passing;  // by peak
};

// `summaries`: at least two, in the order of time; the ends are compared.
[[nodiscard]] MemoryDiff compare_memory(const std::vector<MemorySummary>& summaries);

}  // namespace tidemark::model
