// SPDX-License-Identifier: Apache-2.0
#include "sources/trap_price.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>

#include "support/clock.h"
#include "support/unique_fd.h"

namespace tidemark::sources {
namespace {

constexpr TrapPrice kSlowMachine{.entry_ns = 1500, .return_ns = 2500, .measured = false};

#if defined(__x86_64__)

constexpr std::array<uint8_t, 2> kFunction = {0x90, 0xc3};  // nop; ret
constexpr int kCalls = 4000;
constexpr int kRounds = 5;

// The least of some rounds: what else happens on the machine only adds.
double time_call(void (*function)()) {
  double least = 1e18;
  for (int round = 0; round < kRounds; ++round) {
    const CpuTime begin = thread_cpu_now();
    for (int call = 0; call < kCalls; ++call) function();
    least = std::min(least, static_cast<double>(thread_cpu_now().ns - begin.ns) / kCalls);
  }
  return least;
}

// A process that times the function whenever it is asked to.
class Helper {
 public:
  static std::optional<Helper> start();
  Helper(Helper&&) = default;
  Helper& operator=(Helper&&) = delete;
  Helper(const Helper&) = delete;
  Helper& operator=(const Helper&) = delete;
  ~Helper() {
    if (!asks_.valid()) return;  // moved from
    asks_.reset();
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
  }

  [[nodiscard]] std::optional<double> time() const {
    constexpr int kPatienceMs = 3000;
    const char ask = 'a';
    pollfd answer{answers_.get(), POLLIN, 0};
    double ns = 0;
    if (::write(asks_.get(), &ask, 1) != 1 || ::poll(&answer, 1, kPatienceMs) != 1 ||
        ::read(answers_.get(), &ns, sizeof(ns)) != sizeof(ns))
      return std::nullopt;
    return ns;
  }
  [[nodiscard]] bpfrt::UprobeTarget target() const {
    return {fmt::format("/proc/{}/fd/{}", ::getpid(), code_.get()), pid_};
  }

 private:
  Helper() = default;
  UniqueFd code_, asks_, answers_;
  pid_t pid_ = -1;
};

[[noreturn]] void serve(int code, int asks, int answers, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  void* const place =
      ::mmap(nullptr, kFunction.size(), PROT_READ | PROT_EXEC, MAP_PRIVATE, code, 0);
  char ask = 0;
  while (place != MAP_FAILED && ::getppid() == parent && ::read(asks, &ask, 1) == 1) {
    const double ns = time_call(reinterpret_cast<void (*)()>(place));
    if (::write(answers, &ns, sizeof(ns)) != sizeof(ns)) break;
  }
  ::_exit(0);
}

std::optional<Helper> Helper::start() {
  Helper helper;
  helper.code_ = UniqueFd(::memfd_create("tidemark-trap", MFD_CLOEXEC));
  if (!helper.code_.valid() ||
      ::write(helper.code_.get(), kFunction.data(), kFunction.size()) != kFunction.size())
    return std::nullopt;
  int asks[2], answers[2];
  if (::pipe2(asks, O_CLOEXEC) != 0) return std::nullopt;
  const UniqueFd asked(asks[0]);
  helper.asks_ = UniqueFd(asks[1]);
  if (::pipe2(answers, O_CLOEXEC) != 0) return std::nullopt;
  helper.answers_ = UniqueFd(answers[0]);
  const UniqueFd answering(answers[1]);
  const pid_t parent = ::getpid();
  helper.pid_ = ::fork();
  if (helper.pid_ < 0) {
    helper.asks_.reset();
    return std::nullopt;
  }
  if (helper.pid_ == 0) {
    helper.asks_.reset();  // else it would wait for itself
    serve(helper.code_.get(), asked.get(), answering.get(), parent);
  }
  return helper;
}

#endif

}  // namespace

TrapPrice measure_trap_price(bpfrt::ProbeKeeper& keeper, UprobeMethod method,
                             const bpf_program* at_entry, const bpf_program* at_return) {
#if defined(__x86_64__)
  const auto helper = Helper::start();
  if (!helper) return kSlowMachine;
  const auto bare = helper->time();
  const std::array<bpfrt::UprobePoint, 1> point{};
  const auto time_with = [&](const bpf_program* program,
                             bpfrt::ProbeEnd end) -> std::optional<double> {
    const auto links = keeper.attach(program, method, end, helper->target(), point);
    if (!links) return std::nullopt;
    const auto time = helper->time();
    keeper.detach(*links);
    return time;
  };
  const auto entry = time_with(at_entry, bpfrt::ProbeEnd::kEntry);
  const auto both = time_with(at_return, bpfrt::ProbeEnd::kReturn);
  if (!bare || !entry || !both) return kSlowMachine;
  // A probe at the return is one at the entry, too, which puts the trampoline there.
  return {.entry_ns = std::max(0.0, *entry - *bare),
          .return_ns = std::max(0.0, *both - *bare),
          .measured = true};
#else
  (void)keeper, (void)method, (void)at_entry, (void)at_return;
  return kSlowMachine;
#endif
}

}  // namespace tidemark::sources
