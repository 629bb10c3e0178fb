// SPDX-License-Identifier: Apache-2.0
//
// BudgetKeeper: carries out what the governor decides. Reads what the targets have used and what
// tracing took of it, puts the throttle into gear, and learns on the way what a trap costs in these
// targets and how far their own time went. Single-threaded.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "model/governor.h"
#include "model/ids.h"
#include "model/own_clock.h"
#include "model/price_trim.h"
#include "sources/source.h"
#include "support/clock.h"
#include "support/result.h"

namespace tidemark::collect {

// CPU time of a process with all its threads, ns; none where it is gone.
using ReadCpu = std::function<std::optional<uint64_t>(model::Pid)>;

struct CpuReaders {
  ReadCpu all;   // asked for often
  ReadCpu user;  // of it, in user mode
  std::function<MonotonicTime()> now = monotonic_now;
};

class BudgetKeeper {
 public:
  // Throttle and extras must outlive it.
  BudgetKeeper(double budget_share, sources::Throttle& throttle,
               std::vector<sources::Extra*> extras, CpuReaders readers)
      : budget_share_(budget_share),
        throttle_(throttle),
        extras_(std::move(extras)),
        readers_(std::move(readers)) {}

  // From here on these targets pay: to be called before their first probes are there. The first
  // tick does it where nobody has; it is to come when the probes are there.
  [[nodiscard]] Status begin(const std::vector<model::Pid>& pids);
  // What the trace tells begins here; what has been taken by now stays in the account.
  void counting_begins();
  // To be called some forty times a second; `pids` are the running targets. `before_pause` is
  // called while the probes are there for the last time.
  [[nodiscard]] Status tick(const std::vector<model::Pid>& pids,
                            const std::function<void()>& before_pause);
  // None before it has begun.
  [[nodiscard]] std::optional<model::GovernorAccount> account() const;
  // The targets' own time since the first pause; empty before it.
  [[nodiscard]] model::OwnClock clock() const;
  // Probes are there, after a pause and for a short time.
  [[nodiscard]] bool is_in_window() const;
  [[nodiscard]] const model::PriceTrim& trim() const { return trim_; }

 private:
  // What the processes of a group have used since each was first looked at.
  struct Used {
    std::map<model::Pid, uint64_t> last;
    uint64_t all_ns = 0;
    void meet(const ReadCpu& reader, const std::vector<model::Pid>& pids);
    void read(const ReadCpu& reader, const std::vector<model::Pid>& pids);
  };
  struct Reading {
    MonotonicTime at;
    model::CpuSpan sums;  // since the start; user_ns only where a span begins or ends
    bool open = true;     // probes were there up to it
  };

  [[nodiscard]] Status read(const std::vector<model::Pid>& pids);
  [[nodiscard]] model::CostReading reading() const;
  [[nodiscard]] Status shift(const model::Setting& next, const std::vector<model::Pid>& pids,
                             const std::function<void()>& before_pause);
  [[nodiscard]] Status charge_extras();
  void leave_out_extras();
  void judge_extras();
  void read_user(const std::vector<model::Pid>& pids);
  void end_span();
  void note();

  double budget_share_;
  sources::Throttle& throttle_;
  std::vector<sources::Extra*> extras_;
  CpuReaders readers_;
  std::optional<model::Governor> governor_;
  model::Setting setting_;
  model::PriceTrim trim_;
  Used used_;
  Used user_;
  Reading now_;
  model::Spending spending_;
  struct ExtraMark {  // when extras were last judged
    MonotonicTime at;
    uint64_t cpu_ns = 0;
    uint64_t extra_ns = 0;
  };
  ExtraMark judged_;
  uint64_t extra_ns_ = 0;
  uint64_t extra_charged_ns_ = 0;
  model::CpuSpan span_start_;
  MonotonicTime resumed_;
  bool is_in_span_ = false;  // not before the first tick
  bool is_counting_ = false;
  std::vector<Reading> noted_;  // from the first pause on; of a pause its ends
};

}  // namespace tidemark::collect
