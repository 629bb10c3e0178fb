// SPDX-License-Identifier: Apache-2.0
//
// AutoTargets: whom `trace --auto` traces: processes that grow steadily join, those that have
// stopped are let go. Single-threaded.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "collect/collector.h"
#include "collect/growth_collector.h"
#include "model/snapshot.h"

namespace tidemark::cli {

class AutoTargets {
 public:
  // After each look at who grows.
  void follow(const collect::GrowthCollector& growth, collect::Collector& tracer);
  // That there were more growers than are traced at once.
  [[nodiscard]] std::vector<model::Coverage> coverage() const;

 private:
  std::set<model::Pid> traced_;
  std::set<model::Pid> let_go_;
  std::set<model::Pid> left_out_;
};

}  // namespace tidemark::cli
