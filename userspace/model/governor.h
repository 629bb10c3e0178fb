// SPDX-License-Identifier: Apache-2.0
//
// Governor: decides how much a trace looks at, so that what it takes of its targets' CPU time stays
// under a budget. It is an account: each bit of CPU time that the targets use for themselves pays
// in its share, what the probes take is drawn. While something is left the trace stays as it is;
// when the account is empty it goes down to the gear that the targets' present rate of calls allows
// (prices of the last seconds, not of the trace's whole life), and up again only when the better
// gear would have cost well under the budget for some seconds.
//
// Where the traps alone are too dear, probes are there in windows only: each is planned when it is
// opened, so that its length does not depend on what is seen in it, and the gaps between are drawn
// at random, so that no rhythm of the target falls in with them.
//
// What can be saved is limited, so that a quiet hour does not pay for a burst: a tenth of what ten
// seconds allow, and the rest is what the share itself is kept below the budget by. No window is
// opened that ten seconds could not pay for. Pure, single-threaded.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <vector>

#include "support/clock.h"

namespace tidemark::model {

// Of one processor: targets that use less CPU time than that are taken for using as much. What
// probes take of them then is nothing that anybody could notice, and all of it can be seen.
inline constexpr double kLeastUse = 0.25;

// kExact: every block is recorded. kSampled: some are, and the probes' traps are all paid. kPaused:
// no probe is there.
enum class Gear { kExact, kSampled, kPaused };

// CPU time that tracing has taken so far from the threads that it was done in.
struct Spending {
  uint64_t traps_ns = 0;     // into the kernel and back, whatever is done there
  uint64_t programs_ns = 0;  // in the programs
  uint64_t calls = 0;        // of probed functions
  [[nodiscard]] uint64_t total_ns() const { return traps_ns + programs_ns; }
};

struct CostReading {
  MonotonicTime now;
  uint64_t targets_cpu_ns = 0;  // that the targets have used so far, what tracing took with it
  Spending spending;
  double trap_factor = 1;  // what traps cost, beside what `spending` has of them
};

struct Setting {
  Gear gear = Gear::kExact;
  uint32_t interval_bytes = 0;  // mean bytes between samples; 0: all. kPaused keeps it
  friend bool operator==(const Setting&, const Setting&) = default;
};

// What the governor did, for the report.
struct GovernorAccount {
  uint64_t own_ns = 0;    // CPU time of the targets without what tracing took
  uint64_t extra_ns = 0;  // that tracing took
  // The largest share of any ten seconds; none before there were as many.
  std::optional<double> worst_share;
  uint64_t exact_ns = 0;  // of the trace's time, in this gear
  uint64_t sampled_ns = 0;
  uint64_t paused_ns = 0;
  uint32_t longest_interval_bytes = 0;  // that was used; 0: none
  uint32_t changes = 0;
  // What was decided when, since counting began; the first few thousand changes.
  struct Decided {
    uint64_t at_ns = 0;
    Setting setting;
  };
  std::vector<Decided> log;
  [[nodiscard]] double share() const;       // extra / own, 0 where nothing was used
  [[nodiscard]] double duty_ratio() const;  // of the time, in which probes were there
};

class Governor {
 public:
  // `budget_share` of the targets' own CPU time: 0.05 is five percent. `trap_ns`: what a probe
  // costs that finds nothing to do. `seed`: of the gaps between windows.
  Governor(double budget_share, double trap_ns, uint64_t seed, const CostReading& at_start);

  // The account's times begin here; what has been taken by now stays in it.
  void counting_begins();
  // Probes are in, or out, as was decided: that took its time, which tells nothing of what they
  // cost.
  void shifted(const CostReading& reading);
  // To be called often: what is not decided for that long is lost before it is noticed.
  [[nodiscard]] Setting decide(const CostReading& reading);
  [[nodiscard]] const GovernorAccount& account() const { return account_; }

 private:
  struct Period {  // between two readings
    MonotonicTime end;
    uint64_t own_ns = 0;
    double pays_ns =
        0;  // what the budget is a share of: more than own_ns where that is next to none
    Spending spent;
    Gear gear = Gear::kExact;
  };
  struct Rates {  // of a span, or of what of it there was since the gear was changed
    double seconds = 0;
    double own_ns = 0;
    double pays_ns = 0;
    double spent_ns = 0;
    double traps_ns = 0;
    double programs_ns = 0;
    double calls = 0;
  };

  [[nodiscard]] Period take(const CostReading& reading);
  const Period& book(const CostReading& reading);
  [[nodiscard]] Rates recent(uint64_t span_ns) const;
  [[nodiscard]] Rates kept() const;
  [[nodiscard]] double expected_cost() const;
  [[nodiscard]] double room_ns() const;
  [[nodiscard]] bool has_room() const;
  void note_worst();
  void note_setting(MonotonicTime now);
  [[nodiscard]] Setting go_down(const Rates& rates);
  [[nodiscard]] Setting pause();
  [[nodiscard]] Setting open_window(MonotonicTime now);
  [[nodiscard]] Setting next_setting(MonotonicTime now);
  [[nodiscard]] uint32_t window_interval() const;
  [[nodiscard]] Setting go_up(const Rates& rates, MonotonicTime now);
  void note_price(const Period& period);
  void note_closing(const Period& period);

  double budget_;  // the share that is aimed at, a little below what was asked for
  double trap_ns_;
  double exact_price_ns_;  // of a call in kExact, as last seen; a guess before
  std::mt19937_64 random_;
  CostReading last_;
  Setting setting_;
  MonotonicTime began_;
  MonotonicTime counted_from_;
  double closing_ns_;  // what the end of a window costs, as time of a window
  double reserve_ns_;
  double balance_ns_;
  double open_cost_ = 0;          // CPU time per second of a window, as last seen,
  double open_own_ = 0;           // and that of the targets' own work beside it
  double wanted_balance_ns_ = 0;  // kPaused: when it is there, a window is opened
  std::optional<MonotonicTime> window_end_;
  Spending window_spent_;  // in the present stay in a gear
  uint32_t window_interval_bytes_ = 0;
  MonotonicTime quiet_since_;
  MonotonicTime changed_;
  std::deque<Period> periods_;  // of the last ten seconds
  GovernorAccount account_;
};

}  // namespace tidemark::model
