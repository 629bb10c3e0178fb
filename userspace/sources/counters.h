// SPDX-License-Identifier: Apache-2.0
//
// The rows of bpf/abi/counters.def as model values.
#pragma once

#include <array>
#include <vector>

#include "bpf/abi/heap.h"
#include "model/snapshot.h"

namespace tidemark::sources {

using CounterValues = std::array<tm_count, TM_COUNTER_MAX>;

[[nodiscard]] std::vector<model::Counter> describe_counters(const CounterValues& values);

}  // namespace tidemark::sources
