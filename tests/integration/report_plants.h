// SPDX-License-Identifier: Apache-2.0
//
// Planted memory and what `tidemark report` says before and after: it has to move its own row, or
// the ghost, by as much as the plant's ledger says, and no other row by more than the stated noise.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tidemark.h"

namespace tidemark::test {

constexpr int64_t kMiB = 1 << 20;
// Others work on the machine too: what is measured while they come and go is measured again.
constexpr int kAttempts = 4;

// Not run as root: said, and left out.
bool cannot_look();

// Takes a report: by a run of its own, or out of a series.
using Look = std::function<Json()>;

int64_t ghost_of(const Json& report);
int64_t error_of(const Json& report);
// Bytes of a row of the attribution, or of the ghost; 0 where there is no such row.
int64_t category_of(const Json& report, const std::string& name);
// Sum of a field over the rows of this process.
int64_t sum_of(const Json& rows, pid_t pid, const char* field);

// A run of the target memory_plants that has planted.
struct Plant {
  Target target;
  Json ledger;

  Plant(const std::string& kind, long amount);
  [[nodiscard]] int64_t bytes() const { return ledger["bytes"].get<int64_t>(); }
};

struct Move {
  Json before;
  Json after;
  int64_t bytes = 0;
  pid_t pid = 0;
  [[nodiscard]] int64_t of(const std::string& name) const {
    return category_of(after, name) - category_of(before, name);
  }
  [[nodiscard]] int64_t allowed() const { return error_of(before) + error_of(after); }
};

// Largest ghost of five reports in a row less the smallest.
int64_t spread_of_five(const Look& look);

// The ghost moves by the plant within the printed error, and its owner is named with its bytes.
void check_ghost_plant(const Look& look, const std::string& kind, long amount,
                       const std::string& maker);
// The row moves by the plant, and the ghost does not.
void check_other_plant(const Look& look, const std::string& kind, long amount,
                       const std::string& own);
// What is queued lies partly in slab: the ghost moves by the part that the report says.
void check_unix_queues(const Look& look, long mib);

}  // namespace tidemark::test
