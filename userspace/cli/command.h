// SPDX-License-Identifier: Apache-2.0
//
// TracedCommand: a program that tidemark starts so as to trace it from its first instruction. It
// waits before its exec until it is let go, so that probes can be set meanwhile. It is an ordinary
// child: not stopped, not under ptrace, with the signals, files and terminal that tidemark was
// given.
#pragma once

#include <string>
#include <vector>

#include "model/process.h"
#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark::cli {

class TracedCommand {
 public:
  // To be called before tidemark changes anything of itself that a child inherits. Errors: there is
  // no such program, or it cannot be executed.
  [[nodiscard]] static Result<TracedCommand> prepare(std::vector<std::string> words);
  TracedCommand(TracedCommand&&) = default;
  TracedCommand& operator=(TracedCommand&&) = delete;
  // A command that was never let go ends here; one that runs goes on.
  ~TracedCommand() = default;

  [[nodiscard]] model::Pid pid() const { return pid_; }
  // Execs. An error where the kernel refuses the program.
  [[nodiscard]] Status let_go();

  // The files of which the program's memory will be made, as far as its loader knows before it
  // starts: what mappings() of it will show, without addresses. Asks the loader (ld.so --list),
  // which runs none of the program's code.
  [[nodiscard]] model::ProcessImage expected_image() const;

 private:
  TracedCommand() = default;

  std::vector<std::string> words_;
  std::string path_;  // of the program
  model::Pid pid_;
  UniqueFd go_;       // we write one byte, or close it
  UniqueFd refusal_;  // errno of a failed exec; closed by one that worked
};

}  // namespace tidemark::cli
