// SPDX-License-Identifier: Apache-2.0
#include "cli/auto_targets.h"

#include <fmt/format.h>
#include <unistd.h>

#include <optional>
#include <vector>

#include "report/names.h"
#include "support/units.h"
#include "system/process_list.h"

namespace tidemark::cli {
namespace {

// At once: each has probes of its own, and all share one budget.
constexpr std::size_t kMostTraced = 8;

// What holds our probes is our own doing.
bool is_ours(model::Pid pid) {
  const auto entry = system::read_entry(pid);
  return pid.value == ::getpid() || (entry && entry->parent.value == ::getpid());
}

}  // namespace

void AutoTargets::follow(const collect::GrowthCollector& growth, collect::Collector& tracer) {
  std::erase_if(traced_, [&](model::Pid pid) {
    if (growth.still_grows(pid)) return false;
    tracer.let_go(pid);
    let_go_.insert(pid);
    fmt::print(stderr, "tidemark: process {} does not grow any more: let go\n", pid.value);
    return true;
  });
  // Their numbers are given to others.
  std::erase_if(let_go_, [](model::Pid pid) { return !system::read_entry(pid); });
  left_out_.clear();
  for (const collect::GrowthCollector::Grower& grower : growth.growers()) {
    if (traced_.contains(grower.pid) || let_go_.contains(grower.pid) || is_ours(grower.pid))
      continue;
    if (traced_.size() >= kMostTraced) {
      left_out_.insert(grower.pid);
    } else if (tracer.join(grower.pid) && tracer.is_traced(grower.pid)) {
      traced_.insert(grower.pid);
      fmt::print(stderr, "tidemark: tracing process {} ({}), which grows by {}\n", grower.pid.value,
                 report::printable(grower.comm), format_rate(grower.trend.bytes_per_s));
    } else {
      let_go_.insert(grower.pid);
    }
  }
}

std::vector<model::Coverage> AutoTargets::coverage() const {
  if (left_out_.empty()) return {};
  return {{"processes that grow", model::HookState::kOff,
           fmt::format("{} are traced at once, {} more grow: trace one of them with -p {}",
                       kMostTraced, left_out_.size(), left_out_.begin()->value)}};
}

}  // namespace tidemark::cli
