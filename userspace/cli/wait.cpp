// SPDX-License-Identifier: Apache-2.0
#include "cli/wait.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

namespace tidemark::cli {
namespace {

sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

Result<UniqueFd> make_timer(Nanoseconds first, Nanoseconds then) {
  UniqueFd fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!fd.valid()) return fail_errno(errno, "cannot make a timer");
  const auto spec = [](Nanoseconds duration) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
    return timespec{seconds.count(), (duration - seconds).count()};
  };
  const itimerspec timer{spec(then), spec(first)};
  if (::timerfd_settime(fd.get(), 0, &timer, nullptr) != 0) {
    return fail_errno(errno, "cannot set a timer");
  }
  return fd;
}

// Timers are read so that they can be due again.
bool take_timer(const UniqueFd& fd, short ready) {
  uint64_t times = 0;
  return (ready & POLLIN) != 0 && ::read(fd.get(), &times, sizeof(times)) == sizeof(times);
}

}  // namespace

Result<Wait> Wait::make() {
  Wait wait;
  const sigset_t set = ending_signals();
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0)
    return fail_errno(errno, "cannot block signals");
  std::signal(SIGPIPE, SIG_IGN);
  wait.signals_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!wait.signals_.valid()) return fail_errno(errno, "cannot watch signals");
  return wait;
}

void Wait::watch(model::Pid pid) {
  // pidfd_open(2), Linux 5.3; glibc 2.36 declares no wrapper in C++ mode on all hosts.
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid.value, 0)));
  if (fd.valid()) processes_.push_back(std::move(fd));
}

Status Wait::start(std::optional<Nanoseconds> duration, std::optional<Nanoseconds> interval) {
  const auto arm = [](UniqueFd& fd, Nanoseconds first, Nanoseconds then) -> Status {
    auto timer = make_timer(first, then);
    if (!timer) return std::unexpected(timer.error());
    fd = std::move(*timer);
    return {};
  };
  if (duration) {
    if (auto armed = arm(duration_, *duration, Nanoseconds(0)); !armed) return armed;
  }
  if (interval) {
    if (auto armed = arm(interval_, *interval, *interval); !armed) return armed;
  }
  return arm(tick_, tick_length_, tick_length_);
}

void Wait::forget_exited(std::size_t first_process, const std::vector<short>& ready) {
  std::vector<UniqueFd> still;
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    if (ready[first_process + i] == 0) still.push_back(std::move(processes_[i]));
  }
  processes_ = std::move(still);
}

Result<Event> Wait::next() {
  for (;;) {
    std::vector<pollfd> polled;
    for (const UniqueFd* fd : {&signals_, &duration_, &interval_, &tick_}) {
      polled.push_back({fd->get(), POLLIN, 0});  // -1 is passed over by poll(2)
    }
    const std::size_t first_source = polled.size();
    for (const int fd : sources_) polled.push_back({fd, POLLIN, 0});
    const std::size_t first_process = polled.size();
    for (const UniqueFd& fd : processes_) polled.push_back({fd.get(), POLLIN, 0});
    if (::poll(polled.data(), polled.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return fail_errno(errno, "cannot wait");
    }
    std::vector<short> ready;
    for (const pollfd& one : polled) ready.push_back(one.revents);
    if (ready[0] != 0) {
      const sigset_t set = ending_signals();
      signalfd_siginfo info;
      while (::read(signals_.get(), &info, sizeof(info)) > 0) continue;
      ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
      return Event::kSignal;
    }
    forget_exited(first_process, ready);
    if (processes_.empty() && !outlasts_targets_) return Event::kTargetsGone;
    if (take_timer(duration_, ready[1])) return Event::kDurationOver;
    const auto sources = std::span(ready).subspan(first_source, sources_.size());
    if (std::ranges::any_of(sources, [](short events) { return events != 0; }))
      return Event::kSource;
    if (take_timer(interval_, ready[2])) return Event::kReport;
    if (take_timer(tick_, ready[3])) return Event::kTick;
  }
}

}  // namespace tidemark::cli
