// SPDX-License-Identifier: Apache-2.0
#include "sources/counters.h"

#include <span>

#include "bpfrt/map.h"

namespace tidemark::sources {
namespace {

struct Row {
  const char* name;
  model::CounterKind kind;
  bool has_bytes;
  const char* meaning;
};

constexpr auto LOSS = model::CounterKind::kLoss;
constexpr auto NOTE = model::CounterKind::kNote;

constexpr Row kRows[] = {
#define TM_COUNTER(name, kind, has_bytes, meaning) {#name, kind, has_bytes != 0, meaning},
#include "bpf/abi/counters.def"
#undef TM_COUNTER
};
static_assert(std::size(kRows) == TM_COUNTER_MAX);

constexpr Row kKernelRows[] = {
#define TM_KERNEL_COUNTER(name, kind, has_bytes, meaning) {#name, kind, has_bytes != 0, meaning},
#include "bpf/abi/kernel_counters.def"
#undef TM_KERNEL_COUNTER
};
static_assert(std::size(kKernelRows) == TM_KERNEL_COUNTER_MAX);

constexpr Row kGrowthRows[] = {
#define TM_GROWTH_COUNTER(name, kind, has_bytes, meaning) {#name, kind, has_bytes != 0, meaning},
#include "bpf/abi/growth_counters.def"
#undef TM_GROWTH_COUNTER
};
static_assert(std::size(kGrowthRows) == TM_GROWTH_COUNTER_MAX);

std::vector<model::Counter> describe(std::span<const Row> rows, std::span<const tm_count> values) {
  std::vector<model::Counter> counters;
  for (std::size_t index = 0; index < rows.size(); ++index) {
    const Row& row = rows[index];
    model::Counter counter{row.name, row.kind, values[index].count, std::nullopt, row.meaning};
    if (row.has_bytes) counter.bytes = values[index].bytes;
    counters.push_back(std::move(counter));
  }
  return counters;
}

}  // namespace

Result<tm_count> read_counter(const bpf_map* counters, uint32_t index) {
  const auto slots = bpfrt::per_cpu<tm_count>(counters, index);
  if (!slots) return std::unexpected(slots.error());
  tm_count sum{};
  for (const tm_count& slot : *slots) {
    sum.count += slot.count;
    sum.bytes += slot.bytes;
  }
  return sum;
}

std::vector<model::Counter> describe_counters(const CounterValues& values) {
  return describe(kRows, values);
}

std::vector<model::Counter> describe_counters(const KernelCounterValues& values) {
  return describe(kKernelRows, values);
}

std::vector<model::Counter> describe_counters(const GrowthCounterValues& values) {
  return describe(kGrowthRows, values);
}

}  // namespace tidemark::sources
