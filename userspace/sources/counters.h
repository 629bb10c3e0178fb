// SPDX-License-Identifier: Apache-2.0
//
// The counters of BPF, the rows of bpf/abi/*counters.def, as model values.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "bpf/abi/growth.h"
#include "bpf/abi/heap.h"
#include "bpf/abi/kernel.h"
#include "model/snapshot.h"
#include "support/result.h"

struct bpf_map;

namespace tidemark::sources {

using CounterValues = std::array<tm_count, TM_COUNTER_MAX>;
using GrowthCounterValues = std::array<tm_count, TM_GROWTH_COUNTER_MAX>;
using KernelCounterValues = std::array<tm_count, TM_KERNEL_COUNTER_SLOTS>;

// A counter over all CPUs. An error where the map cannot be read.
[[nodiscard]] Result<tm_count> read_counter(const bpf_map* counters, uint32_t index);

// In the order of their rows.
[[nodiscard]] std::vector<model::Counter> describe_counters(const CounterValues& values);
[[nodiscard]] std::vector<model::Counter> describe_counters(const KernelCounterValues& values);
[[nodiscard]] std::vector<model::Counter> describe_counters(const GrowthCounterValues& values);

}  // namespace tidemark::sources
