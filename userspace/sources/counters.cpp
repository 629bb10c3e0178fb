// SPDX-License-Identifier: Apache-2.0
#include "sources/counters.h"

namespace tidemark::sources {
namespace {

enum class CounterKind { LOSS, NOTE };

struct Row {
  const char* name;
  CounterKind kind;
  bool has_bytes;
  const char* meaning;
};

constexpr Row kRows[] = {
#define TM_COUNTER(name, kind, has_bytes, meaning) \
  {#name, CounterKind::kind, has_bytes != 0, meaning},
#include "bpf/abi/counters.def"
#undef TM_COUNTER
};
static_assert(std::size(kRows) == TM_COUNTER_MAX);

}  // namespace

std::vector<model::Counter> describe_counters(const CounterValues& values) {
  std::vector<model::Counter> counters;
  for (std::size_t index = 0; index < values.size(); ++index) {
    const Row& row = kRows[index];
    model::Counter counter;
    counter.name = row.name;
    counter.kind =
        row.kind == CounterKind::LOSS ? model::CounterKind::kLoss : model::CounterKind::kNote;
    counter.count = values[index].count;
    if (row.has_bytes) counter.bytes = values[index].bytes;
    counter.meaning = row.meaning;
    counters.push_back(std::move(counter));
  }
  return counters;
}

}  // namespace tidemark::sources
