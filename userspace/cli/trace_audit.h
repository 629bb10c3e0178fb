// SPDX-License-Identifier: Apache-2.0
//
// When and of what a trace makes audits: blocks of call sites that are, or may soon be, suspects
// are looked up after 1, 2, 4, 8 ... seconds and before each report, so that most have been looked
// at before when they are judged. Owns the Auditor.
#pragma once

#include <unordered_map>

#include "audit/auditor.h"
#include "model/snapshot.h"
#include "support/clock.h"

namespace tidemark::cli {

class TraceAudit {
 public:
  // One that is not on says so in the coverage, and no more.
  explicit TraceAudit(bool is_on);

  [[nodiscard]] bool is_on() const { return is_on_; }
  // The trace has begun.
  void start(MonotonicTime now);
  [[nodiscard]] bool is_due(MonotonicTime now) const { return next_.ns != 0 && now.ns >= next_.ns; }
  // Looks up what this snapshot, which is of now, has of candidates. The probes must be on still,
  // so that no block is freed unseen meanwhile.
  void look(const model::Snapshot& snapshot, audit::Depth depth, MonotonicTime now);
  // The same of a window that is about to end, of those that were born in it.
  void look_at_new(const model::Snapshot& snapshot, MonotonicTime now);
  // What is known, put to the call sites of a later snapshot that are candidates; where there were
  // windows, to the blocks that they saw.
  void settle(model::Snapshot& snapshot) const;

 private:
  bool is_on_;
  audit::Auditor auditor_;
  std::unordered_map<model::Generation, model::Pid> pids_;
  void look_up(const model::Snapshot& snapshot, audit::Depth depth, bool only_new,
               MonotonicTime now);
  void tell_histories(model::CallSite& site, uint64_t taken_ns) const;

  MonotonicTime looked_;
  MonotonicTime started_;
  MonotonicTime next_;
};

}  // namespace tidemark::cli
