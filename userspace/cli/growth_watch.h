// SPDX-License-Identifier: Apache-2.0
//
// GrowthWatch: the growth of all processes, with the names of its call sites: what `trace --growth`
// and `trace --auto` have in common. Owns a symbolizer of its own, since the processes that it
// looks at are numbered by itself. Single-threaded.
#pragma once

#include <memory>
#include <vector>

#include "cli/options.h"
#include "collect/growth_collector.h"
#include "kernel/facts.h"
#include "model/growth.h"
#include "report/builder.h"
#include "support/clock.h"
#include "support/result.h"
#include "symbolize/process_symbolizer.h"

namespace tidemark::cli {

class GrowthWatch {
 public:
  [[nodiscard]] static Result<std::unique_ptr<GrowthWatch>> open(const TraceOptions& options,
                                                                 const kernel::Facts& facts);
  GrowthWatch(const GrowthWatch&) = delete;
  GrowthWatch& operator=(const GrowthWatch&) = delete;

  [[nodiscard]] collect::GrowthCollector& collector() { return *collector_; }
  // With the source lines of what will be shown. `is_last`: nothing has to go on meanwhile.
  [[nodiscard]] Result<model::GrowthSnapshot> snapshot(MonotonicTime now, bool is_last);
  // Of this snapshot, as long as it lives.
  [[nodiscard]] report::StackNames names_of(const model::GrowthSnapshot& snapshot);

 private:
  explicit GrowthWatch(const TraceOptions& options) : options_(options) {}

  const TraceOptions& options_;
  symbolize::ProcessSymbolizer symbolizer_;
  std::unique_ptr<collect::GrowthCollector> collector_;  // tells the symbolizer
};

}  // namespace tidemark::cli
