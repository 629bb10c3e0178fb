// SPDX-License-Identifier: Apache-2.0
//
// Processes that begin and end between two looks: a program at the kernel's sched_process_exit
// keeps their names while this object lives. Needs the privileges of tracing. Single-threaded.
#pragma once

#include <memory>
#include <vector>

#include "model/passed_processes.h"
#include "support/result.h"

namespace tidemark::sources {

class PassingProcesses {
 public:
  struct Taken {
    std::vector<model::PassedProcess> processes;
    uint64_t not_kept = 0;  // since the last time: the table was full
  };

  // Begins to watch. Errors: no permission, no BTF, a program that is refused.
  [[nodiscard]] static Result<PassingProcesses> open();
  PassingProcesses(PassingProcesses&&) noexcept;
  PassingProcesses& operator=(PassingProcesses&&) noexcept;
  ~PassingProcesses();

  // Those that ended since the last call, and had begun since the one before that: what was there
  // longer has been seen by whoever looked at the last call.
  [[nodiscard]] Result<Taken> take();

 private:
  struct Programs;
  PassingProcesses(std::unique_ptr<Programs> programs, uint64_t opened_boot_ns);
  std::unique_ptr<Programs> programs_;
  uint64_t last_take_boot_ns_ = 0;
};

}  // namespace tidemark::sources
