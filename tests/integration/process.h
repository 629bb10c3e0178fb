// SPDX-License-Identifier: Apache-2.0
//
// Process: one child of the test, with its three streams on pipes. It is killed and reaped, by pid,
// at the latest when its owner goes; it dies with the test binary, too. All waits are bounded.
// Single-threaded. Throws std::runtime_error where the test cannot go on: doctest reports that as a
// failure.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "support/unique_fd.h"

namespace tidemark::test {

using Milliseconds = std::chrono::milliseconds;
constexpr Milliseconds kPatience{
    240'000};  // longer than anything takes; a test that gets here has failed

struct SpawnOptions {
  std::optional<uid_t> uid;  // run as this user; the program is opened before the change
};

enum class Stream { kOut, kErr };

struct ExitStatus {
  int code = -1;  // -1 when a signal ended it
  int signal = 0;
};

class Process {
 public:
  static Process spawn(const std::vector<std::string>& arguments, SpawnOptions options = {});
  Process(Process&& other) noexcept;
  Process& operator=(Process&&) = delete;
  ~Process();

  [[nodiscard]] pid_t pid() const { return pid_; }
  void write_line(const std::string& line);
  void close_input() { input_.reset(); }
  void signal(int number) const;
  // The next line without its newline; none when the time is up or the stream ends.
  std::optional<std::string> read_line(Stream stream, Milliseconds timeout = kPatience);
  // None when it still runs after this time. Streams are drained meanwhile.
  std::optional<ExitStatus> wait_exit(Milliseconds timeout = kPatience);
  // Everything that was said on the stream so far, whether read by line or not.
  [[nodiscard]] const std::string& said(Stream stream) const { return pipe_of(stream).text; }

 private:
  struct Pipe {
    UniqueFd fd;
    std::string text;
    std::size_t read_up_to = 0;
  };

  Process() = default;
  void drain(Milliseconds timeout);
  void try_reap();
  [[nodiscard]] Pipe& pipe_of(Stream stream) { return stream == Stream::kOut ? out_ : err_; }
  [[nodiscard]] const Pipe& pipe_of(Stream stream) const {
    return stream == Stream::kOut ? out_ : err_;
  }

  pid_t pid_ = -1;
  bool reaped_ = false;
  ExitStatus status_;
  UniqueFd input_;
  Pipe out_;
  Pipe err_;
};

}  // namespace tidemark::test
