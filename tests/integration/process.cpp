// SPDX-License-Identifier: Apache-2.0
#include "process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace tidemark::test {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void give_up(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

struct PipeEnds {
  UniqueFd read;
  UniqueFd write;
};

PipeEnds make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) give_up("pipe");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = std::getenv("PATH");
  std::string rest = path != nullptr ? path : "/usr/sbin:/usr/bin:/sbin:/bin";
  while (!rest.empty()) {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    const std::string candidate = rest.substr(0, colon) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    rest.erase(0, std::min(colon + 1, rest.size()));
  }
  return name;
}

struct ChildStreams {
  int in;
  int out;
  int err;
};

// Between fork and exec: system calls only.
[[noreturn]] void become(int program, char* const* arguments, ChildStreams streams,
                         std::optional<uid_t> uid) {
  ::dup2(streams.in, STDIN_FILENO);
  ::dup2(streams.out, STDOUT_FILENO);
  ::dup2(streams.err, STDERR_FILENO);
  if (uid) {
    if (::chdir("/") != 0 || ::setgid(*uid) != 0 || ::setuid(*uid) != 0) ::_exit(126);
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::fexecve(program, arguments, environ);
  ::_exit(127);
}

}  // namespace

Process Process::spawn(const std::vector<std::string>& arguments, SpawnOptions options) {
  static const bool ignored = std::signal(SIGPIPE, SIG_IGN) != SIG_ERR;
  if (!ignored || arguments.empty()) give_up("spawn");
  const UniqueFd program(::open(find_program(arguments[0]).c_str(), O_PATH | O_CLOEXEC));
  if (!program.valid()) give_up("cannot open " + arguments[0]);
  std::vector<char*> words;
  for (const std::string& argument : arguments)
    words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);

  PipeEnds in = make_pipe();
  PipeEnds out = make_pipe();
  PipeEnds err = make_pipe();
  Process process;
  process.pid_ = ::fork();
  if (process.pid_ < 0) give_up("fork");
  if (process.pid_ == 0) {
    become(program.get(), words.data(), {in.read.get(), out.write.get(), err.write.get()},
           options.uid);
  }
  process.input_ = std::move(in.write);
  process.out_.fd = std::move(out.read);
  process.err_.fd = std::move(err.read);
  ::fcntl(process.out_.fd.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(process.err_.fd.get(), F_SETFL, O_NONBLOCK);
  return process;
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      reaped_(other.reaped_),
      status_(other.status_),
      input_(std::move(other.input_)),
      out_(std::move(other.out_)),
      err_(std::move(other.err_)) {}

Process::~Process() {
  if (pid_ <= 0 || reaped_) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Process::write_line(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(input_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    give_up("cannot say '" + line + "' to process " + std::to_string(pid_));
  }
}

void Process::signal(int number) const {
  if (!reaped_) ::kill(pid_, number);
}

// Takes what has been said; waits up to the timeout for the first byte.
void Process::drain(Milliseconds timeout) {
  std::array<pollfd, 2> polled = {{{out_.fd.get(), POLLIN, 0}, {err_.fd.get(), POLLIN, 0}}};
  if (::poll(polled.data(), polled.size(), static_cast<int>(timeout.count())) <= 0) return;
  std::array<char, 65536> buffer;
  for (Pipe* pipe : {&out_, &err_}) {
    while (pipe->fd.valid()) {
      const ssize_t got = ::read(pipe->fd.get(), buffer.data(), buffer.size());
      if (got > 0) pipe->text.append(buffer.data(), static_cast<std::size_t>(got));
      if (got == 0) pipe->fd.reset();
      if (got < 0) break;
    }
  }
}

std::optional<std::string> Process::read_line(Stream stream, Milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    Pipe& pipe = pipe_of(stream);
    const std::size_t end = pipe.text.find('\n', pipe.read_up_to);
    if (end != std::string::npos) {
      std::string line = pipe.text.substr(pipe.read_up_to, end - pipe.read_up_to);
      pipe.read_up_to = end + 1;
      return line;
    }
    if (!pipe.fd.valid() || Clock::now() >= deadline) return std::nullopt;
    drain(Milliseconds{50});
  }
}

void Process::try_reap() {
  int status = 0;
  if (reaped_ || ::waitpid(pid_, &status, WNOHANG) != pid_) return;
  reaped_ = true;
  if (WIFEXITED(status)) status_.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) status_.signal = WTERMSIG(status);
}

std::optional<ExitStatus> Process::wait_exit(Milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    try_reap();
    // Once it is gone, what it left in the pipes is complete; a child of its own may hold them
    // open.
    drain(reaped_ ? Milliseconds{0} : Milliseconds{10});
    if (reaped_) return status_;
    if (Clock::now() >= deadline) return std::nullopt;
    if (!out_.fd.valid() && !err_.fd.valid()) ::poll(nullptr, 0, 5);
  }
}

}  // namespace tidemark::test
