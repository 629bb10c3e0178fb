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
#include <vector>

#include "support/clock.h"
#include "support/unique_fd.h"

namespace tidemark::sources {
namespace {

constexpr TrapPrice kSlowMachine{.entry_ns = 1500,
                                 .return_ns = 2500,
                                 .further_entry_ns = 50,
                                 .further_session_ns = 300,
                                 .step_ns = 15'000,
                                 .measured = false};

#if defined(__x86_64__)

// Two functions: nop; ret and test edi, edi; ret. The kernel emulates the first's beginning.
constexpr std::array<uint8_t, 5> kCode = {0x90, 0xc3, 0x85, 0xff, 0xc3};
struct Function {
  uint8_t offset_bytes;
  int calls;  // to be timed
};
constexpr Function kEmulated{0, 4000}, kStepped{2, 400};
constexpr int kRounds = 5;
constexpr uint32_t kProcesses = 5;  // at one place

// The least of some rounds: what else happens on the machine only adds.
double time_call(void (*function)(), int calls) {
  double least = 1e18;
  for (int round = 0; round < kRounds; ++round) {
    const CpuTime begin = thread_cpu_now();
    for (int call = 0; call < calls; ++call) function();
    least = std::min(least, static_cast<double>(thread_cpu_now().ns - begin.ns) / calls);
  }
  return least;
}

// A process that times a function whenever it is asked to.
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

  [[nodiscard]] std::optional<double> time(const Function& function) const {
    constexpr int kPatienceMs = 3000;
    pollfd answer{answers_.get(), POLLIN, 0};
    double ns = 0;
    if (::write(asks_.get(), &function, sizeof(function)) != sizeof(function) ||
        ::poll(&answer, 1, kPatienceMs) != 1 ||
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
  void* const place = ::mmap(nullptr, kCode.size(), PROT_READ | PROT_EXEC, MAP_PRIVATE, code, 0);
  Function asked{};
  while (place != MAP_FAILED && ::getppid() == parent &&
         ::read(asks, &asked, sizeof(asked)) == sizeof(asked)) {
    const double ns = time_call(
        reinterpret_cast<void (*)()>(static_cast<char*>(place) + asked.offset_bytes), asked.calls);
    if (::write(answers, &ns, sizeof(ns)) != sizeof(ns)) break;
  }
  ::_exit(0);
}

std::optional<Helper> Helper::start() {
  Helper helper;
  helper.code_ = UniqueFd(::memfd_create("tidemark-trap", MFD_CLOEXEC));
  if (!helper.code_.valid() ||
      ::write(helper.code_.get(), kCode.data(), kCode.size()) != kCode.size())
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

// Times a function of the helper's with a program at it, for the helper and for others.
class Measurement {
 public:
  Measurement(bpfrt::ProbeKeeper& keeper, UprobeMethod method, const Helper& helper,
              const Function& function = kEmulated)
      : keeper_(keeper), method_(method), helper_(helper), function_(function) {}
  Measurement(const Measurement&) = delete;
  Measurement& operator=(const Measurement&) = delete;
  ~Measurement() { keeper_.detach(links_); }

  // For so many processes, of which the helper is one and the others are ours, that never call it.
  [[nodiscard]] std::optional<double> time(const bpf_program* program, bpfrt::ProbeEnd end,
                                           uint32_t processes) {
    while (places_ < processes) {
      bpfrt::UprobeTarget target = helper_.target();
      if (places_ > 0) target.pid = ::getpid();
      const std::array<bpfrt::UprobePoint, 1> point{
          {{.file_offset_bytes = function_.offset_bytes}}};
      const auto links = keeper_.attach(program, method_, end, target, point);
      if (!links) return std::nullopt;
      links_.insert(links_.end(), links->begin(), links->end());
      ++places_;
    }
    return helper_.time(function_);
  }

 private:
  bpfrt::ProbeKeeper& keeper_;
  UprobeMethod method_;
  const Helper& helper_;
  const Function& function_;
  std::vector<bpfrt::ProbeLink> links_;
  uint32_t places_ = 0;
};

// What each further process adds to `alone`.
double further(std::optional<double> alone, std::optional<double> together) {
  return alone && together ? std::max(0.0, *together - *alone) / (kProcesses - 1) : 0;
}

#endif

}  // namespace

TrapPrice measure_trap_price(bpfrt::ProbeKeeper& keeper, UprobeMethod method,
                             const TrapPrograms& programs) {
#if defined(__x86_64__)
  const auto helper = Helper::start();
  if (!helper) return kSlowMachine;
  const auto bare = helper->time(kEmulated);
  const auto bare_stepped = helper->time(kStepped);
  std::optional<double> entry, entries, both, sessions, stepped;
  {
    Measurement at_entry(keeper, method, *helper);
    entry = at_entry.time(programs.at_entry, bpfrt::ProbeEnd::kEntry, 1);
    entries = at_entry.time(programs.at_entry, bpfrt::ProbeEnd::kEntry, kProcesses);
  }
  both = Measurement(keeper, method, *helper).time(programs.at_return, bpfrt::ProbeEnd::kReturn, 1);
  if (programs.session != nullptr)
    sessions = Measurement(keeper, method, *helper)
                   .time(programs.session, bpfrt::ProbeEnd::kBoth, kProcesses);
  stepped = Measurement(keeper, method, *helper, kStepped)
                .time(programs.at_entry, bpfrt::ProbeEnd::kEntry, 1);
  if (!bare || !bare_stepped || !entry || !both || !stepped) return kSlowMachine;
  // A probe at the return is one at the entry, too, which puts the trampoline there.
  return {.entry_ns = std::max(0.0, *entry - *bare),
          .return_ns = std::max(0.0, *both - *bare),
          .further_entry_ns = further(entry, entries),
          .further_session_ns = further(both, sessions),
          .step_ns = std::max(0.0, *stepped - *bare_stepped - (*entry - *bare)),
          .measured = true};
#else
  (void)keeper, (void)method, (void)programs;
  return kSlowMachine;
#endif
}

}  // namespace tidemark::sources
