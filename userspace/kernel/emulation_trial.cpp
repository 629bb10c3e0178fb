// SPDX-License-Identifier: Apache-2.0
#include "kernel/emulation_trial.h"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "support/file.h"
#include "support/strings.h"
#include "support/unique_fd.h"

namespace tidemark::kernel {
namespace {

#if defined(__x86_64__)

// push rbp; push r12; nop; jmp +0; xor eax, eax; je +0; je near +0; call +0; add rsp, 8; pop r12;
// pop rbp; ret
constexpr std::array<uint8_t, 29> kJumps = {
    0x55, 0x41, 0x54, 0x90, 0xeb, 0x00, 0x31, 0xc0, 0x74, 0x00, 0x0f, 0x84, 0x00, 0x00, 0x00,
    0x00, 0xe8, 0x00, 0x00, 0x00, 0x00, 0x48, 0x83, 0xc4, 0x08, 0x41, 0x5c, 0x5d, 0xc3};
// One of each kind that the kernel treats alike: each probe costs a tenth of a second to take out.
constexpr std::array<uint64_t, 4> kJumpsProbed = {1, 3, 10, 16};

// nops of 2, 3, 4, 6 and 7 bytes; ret
constexpr std::array<uint8_t, 23> kLongNops = {0x66, 0x90, 0x0f, 0x1f, 0x00, 0x0f, 0x1f, 0x40,
                                               0x00, 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00, 0x0f,
                                               0x1f, 0x80, 0x00, 0x00, 0x00, 0x00, 0xc3};
constexpr std::array<uint64_t, 2> kLongNopsProbed = {0, 15};

enum class Answer : char { kEmulated = 'e', kStepped = 's', kNotTried = 'n' };

// What a helper does: `code` in a file without a name, probes, a call, a look. The probes are kept.
Answer run_probed(std::span<const uint8_t> code, std::span<const uint64_t> probed, uint32_t type,
                  std::vector<UniqueFd>& probes) {
  const UniqueFd file(::memfd_create("tidemark-trial", MFD_CLOEXEC));
  if (!file.valid() ||
      ::write(file.get(), code.data(), code.size()) != static_cast<ssize_t>(code.size())) {
    return Answer::kNotTried;
  }
  void* const place =
      ::mmap(nullptr, code.size(), PROT_READ | PROT_EXEC, MAP_PRIVATE, file.get(), 0);
  if (place == MAP_FAILED) return Answer::kNotTried;
  const std::string path = fmt::format("/proc/self/fd/{}", file.get());
  for (const uint64_t offset : probed) {
    perf_event_attr attr{};
    attr.size = sizeof(attr);
    attr.type = type;
    attr.uprobe_path = reinterpret_cast<uintptr_t>(path.c_str());
    attr.probe_offset = offset;
    probes.emplace_back(
        static_cast<int>(::syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC)));
    if (!probes.back().valid()) return Answer::kNotTried;
  }
  reinterpret_cast<void (*)()>(place)();
  const auto maps = read_file("/proc/self/maps");
  if (!maps) return Answer::kNotTried;
  return maps->find("[uprobes]") == std::string::npos ? Answer::kEmulated : Answer::kStepped;
}

// A helper at work: a grandchild, which nobody has to wait for, since taking its probes out takes a
// while. Not valid where none could be started.
UniqueFd start_helper(std::span<const uint8_t> code, std::span<const uint64_t> probed,
                      uint32_t type) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  UniqueFd reader(ends[0]);
  const UniqueFd writer(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return {};
  if (child == 0) {
    if (::fork() == 0) {
      // Outlive the answer: taking one out takes a tenth of a second.
      std::vector<UniqueFd> probes;
      const auto answer = static_cast<char>(run_probed(code, probed, type, probes));
      (void)!::write(writer.get(), &answer, 1);
      ::_exit(0);
    }
    ::_exit(0);
  }
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
  return reader;
}

Answer answer_of(const UniqueFd& helper) {
  constexpr int kPatienceMs = 5000;
  pollfd waiting{helper.get(), POLLIN, 0};
  char answer = 0;
  const bool answered = helper.valid() && ::poll(&waiting, 1, kPatienceMs) == 1 &&
                        ::read(helper.get(), &answer, 1) == 1;
  return answered ? static_cast<Answer>(answer) : Answer::kNotTried;
}

Fact to_fact(Answer answer, std::string_view what, std::string_view when_stepped) {
  switch (answer) {
    case Answer::kEmulated:
      return {true, ""};
    case Answer::kStepped:
      return {false,
              fmt::format("this kernel single-steps {} under a probe: {}", what, when_stepped)};
    case Answer::kNotTried:
      break;
  }
  return {false, fmt::format("it could not be tried whether {} are emulated under a probe", what)};
}

#endif

}  // namespace

EmulationTrial try_emulation() {
#if defined(__x86_64__)
  const auto text = read_file("/sys/bus/event_source/devices/uprobe/type");
  const auto type = text ? parse_number<uint32_t>(trim(*text)) : std::nullopt;
  Answer jumps = Answer::kNotTried, long_nops = Answer::kNotTried;
  if (type) {
    const UniqueFd for_jumps = start_helper(kJumps, kJumpsProbed, *type);
    const UniqueFd for_nops = start_helper(kLongNops, kLongNopsProbed, *type);
    jumps = answer_of(for_jumps);
    long_nops = answer_of(for_nops);
  }
  return {to_fact(jumps, "push and jumps", "no probe site is cheaper than a function's entry"),
          to_fact(long_nops, "long nops", "they are no better a probe site than any other")};
#else
  const Fact unknown{false, "not known on this machine: probes sit at the functions' entries"};
  return {unknown, unknown};
#endif
}

}  // namespace tidemark::kernel
