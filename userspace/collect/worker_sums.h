// SPDX-License-Identifier: Apache-2.0
//
// Workers of a group run the same code at other addresses, and are started again. Their call sites
// are one: same kind, allocator, purpose and name of the process, and frames at the same places of
// the same files.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "model/snapshot.h"

namespace tidemark::collect {

// A place in a file that does not depend on where it is mapped: which file (by its build id, where
// it has one), and the offset in it. None for memory that is no file.
using Place = std::pair<uint64_t, uint64_t>;
using PlaceOf = std::function<std::optional<Place>(model::Generation, model::Address)>;

// Sums the call sites of the snapshot. What stands for a sum is the call site of the oldest
// generation, so that it stays the same from one snapshot to the next.
void sum_workers(model::Snapshot& snapshot, const PlaceOf& place_of);

}  // namespace tidemark::collect
