// SPDX-License-Identifier: Apache-2.0
//
// Wait: what a running trace waits for: Ctrl-C or SIGTERM, the end of its targets, the clock. Owns
// the signal, process and timer descriptors. The first signal is an event; it gives the signals
// back to the kernel, so that a second one ends the program at once.
#pragma once

#include <csignal>
#include <optional>
#include <vector>

#include "model/ids.h"
#include "support/result.h"
#include "support/unique_fd.h"
#include "support/units.h"

namespace tidemark::cli {

enum class Event { kSource, kTick, kReport, kDurationOver, kSignal, kTargetsGone };

class Wait {
 public:
  // Blocks SIGINT and SIGTERM; SIGPIPE is ignored from here on.
  [[nodiscard]] static Result<Wait> make();
  Wait(Wait&&) = default;
  Wait& operator=(Wait&&) = default;
  ~Wait() = default;

  // The trace ends when all that are watched have ended. One that is gone already counts as ended.
  void watch(model::Pid pid);
  // It does not: others may come.
  void outlast_targets() { outlasts_targets_ = true; }
  [[nodiscard]] Status start(std::optional<Nanoseconds> duration,
                             std::optional<Nanoseconds> interval);
  // How often a tick is an event; 200 ms where nothing is said.
  void tick_every(Nanoseconds tick) { tick_length_ = tick; }
  // `fd` stays the caller's, who must make it unreadable before he asks for the next event.
  void watch_source(int fd) { sources_.push_back(fd); }
  // The next event. If several are due, the one that ends the trace first.
  [[nodiscard]] Result<Event> next();

 private:
  Wait() = default;
  void forget_exited(std::size_t first_process, const std::vector<short>& ready);

  UniqueFd signals_;
  UniqueFd duration_;
  UniqueFd interval_;
  UniqueFd tick_;
  Nanoseconds tick_length_ = std::chrono::milliseconds(200);
  std::vector<int> sources_;  // not owned
  std::vector<UniqueFd> processes_;
  bool outlasts_targets_ = false;
};

}  // namespace tidemark::cli
