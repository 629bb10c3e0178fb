// SPDX-License-Identifier: Apache-2.0
//
// GrowthCollector: what the kernel tells of growth, and what /proc says of the processes that grow,
// become a GrowthSnapshot. Looks at /proc only where the kernel told of a change since the last
// look. Single-threaded.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "collect/pace.h"
#include "model/growth.h"
#include "model/growth_trend.h"
#include "model/process.h"
#include "sources/resident_growth.h"
#include "support/clock.h"
#include "support/result.h"

namespace tidemark::collect {

struct GrowthReaders {
  std::function<std::vector<model::Pid>()> pids;
  std::function<std::optional<model::ResidentSizes>(model::Pid)> sizes;
  std::function<std::optional<model::PageFaults>(model::Pid)> faults;
  std::function<std::string(model::Pid)> comm;
  std::function<Result<model::ProcessImage>(model::Pid)> process;
  std::function<std::optional<std::vector<bool>>(model::Pid, std::span<const model::Address>)> kept;
};

// Told of the code of processes that have call sites: the symbolizer.
using GrowthListener = std::function<void(model::Generation, const model::ProcessImage&)>;

class GrowthCollector {
 public:
  // `resident_error_bytes`: as GrowthSnapshot has it.
  GrowthCollector(std::unique_ptr<sources::ResidentGrowth> source, GrowthReaders readers,
                  GrowthListener listener, uint64_t resident_error_bytes);

  // From here on growth is watched. Looks at every process once.
  [[nodiscard]] Status open_gate(MonotonicTime now, WallTime wall);
  [[nodiscard]] std::vector<int> event_fds() const { return source_->event_fds(); }
  [[nodiscard]] Status serve() { return source_->serve(); }
  // To be called often: looks at who has changed when that is due. True where it was.
  [[nodiscard]] Result<bool> tick(MonotonicTime now);
  [[nodiscard]] Result<model::GrowthSnapshot> snapshot(MonotonicTime now);
  // Nothing later is told.
  void stop() { source_->stop(); }

  // Who grows, as of the last look; fastest first.
  struct Grower {
    model::Pid pid;
    std::string comm;
    model::GrowthTrend trend;
  };
  [[nodiscard]] std::vector<Grower> growers() const;
  // False where it does not grow any more, or has ended.
  [[nodiscard]] bool still_grows(model::Pid pid) const;

 private:
  struct Watched {
    std::string comm;
    bool started_meanwhile = false;
    uint64_t since_ns = 0;
    model::ResidentSizes first;
    model::ResidentSizes last;
    std::optional<model::PageFaults> first_faults;
    model::GrowthSeries series;
    std::optional<sources::GrowthRow> row;  // what the kernel told last
    uint64_t looked_at_events = 0;
  };

  void meet(model::Pid pid, MonotonicTime now);
  [[nodiscard]] Status look(MonotonicTime now);
  void hear(const std::vector<sources::GrowthRow>& rows);
  void end_of(const sources::GrowthRow& row);
  enum class Telling { kChanges, kNothing };  // what the kernel does
  void measure(model::Pid pid, Watched& watched, Telling telling, MonotonicTime now);
  void learn_code(std::span<const sources::GrowthBook::Running> processes);
  void settle_pages();
  void list_owners(model::GrowthSnapshot& snapshot);
  [[nodiscard]] model::GrowthProcess describe(model::Pid pid, const Watched& watched,
                                              MonotonicTime now) const;

  std::unique_ptr<sources::ResidentGrowth> source_;
  GrowthReaders readers_;
  GrowthListener listener_;
  uint64_t resident_error_bytes_;
  Pace pace_of_looks_;  // the more there is to be looked at, the seldomer
  Pace pace_of_code_;
  std::map<model::Pid, Watched> watched_;
  std::map<std::string, model::EndedProcesses> ended_;
  std::map<model::Generation, model::GrowthOwner> owners_;
  MonotonicTime started_;
  MonotonicTime looked_;
  WallTime started_wall_;
};

}  // namespace tidemark::collect
