// SPDX-License-Identifier: Apache-2.0
//
// Debuginfod: asks the servers in DEBUGINFOD_URLS for separate debug files, by libdebuginfod. That
// library is loaded only here: a host whose users do not ask for this does not need it. Found files
// are kept in its own cache (DEBUGINFOD_CACHE_PATH). What a server sends is not trusted, as no
// debug file is. Not thread-safe.
#pragma once

#include <memory>
#include <string>

#include "support/result.h"
#include "support/unique_fd.h"
#include "support/units.h"

namespace tidemark::elf {

class Debuginfod {
 public:
  // `allowance` is the time for all files together. Errors: no servers are named, the library is
  // not installed.
  [[nodiscard]] static Result<Debuginfod> open(Nanoseconds allowance);
  Debuginfod(Debuginfod&&) noexcept;
  Debuginfod& operator=(Debuginfod&&) noexcept;
  ~Debuginfod();

  // Blocks until the file is there, the servers do not have it, or the time is over.
  [[nodiscard]] Result<UniqueFd> find(const std::string& build_id);
  // The allowance is used up: no file is asked for any more.
  [[nodiscard]] bool is_over() const;

 private:
  struct State;
  explicit Debuginfod(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tidemark::elf
