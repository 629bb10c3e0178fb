// SPDX-License-Identifier: Apache-2.0
#include "kernel/seccomp_trial.h"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "support/file.h"
#include "support/strings.h"
#include "support/unique_fd.h"

namespace tidemark::kernel {
namespace {

constexpr uint64_t kReturnProbe = 1;  // /sys/bus/event_source/devices/uprobe/format/retprobe

#if defined(__x86_64__)
constexpr std::array<uint8_t, 3> kFunction = {0x55, 0x5d, 0xc3};  // push %rbp; pop %rbp; ret
#elif defined(__aarch64__)
constexpr std::array<uint8_t, 4> kFunction = {0xc0, 0x03, 0x5f, 0xd6};  // ret
#endif

// A file without a name that holds the function and nothing else, so that its offset is 0.
class ProbedFunction {
 public:
  [[nodiscard]] bool make() {
    file_ = UniqueFd(::memfd_create("tidemark-trial", MFD_CLOEXEC));
    if (!file_.valid()) return false;
    if (::write(file_.get(), kFunction.data(), kFunction.size()) !=
        static_cast<ssize_t>(kFunction.size())) {
      return false;
    }
    code_ = ::mmap(nullptr, kFunction.size(), PROT_READ | PROT_EXEC, MAP_PRIVATE, file_.get(), 0);
    return code_ != MAP_FAILED;
  }
  ProbedFunction() = default;
  ProbedFunction(const ProbedFunction&) = delete;
  ProbedFunction& operator=(const ProbedFunction&) = delete;
  ~ProbedFunction() {
    if (code_ != MAP_FAILED) ::munmap(code_, kFunction.size());
  }

  // The function is entered with nothing, and gives nothing.
  void call() const { reinterpret_cast<void (*)()>(code_)(); }
  [[nodiscard]] std::string path() const { return fmt::format("/proc/self/fd/{}", file_.get()); }

 private:
  UniqueFd file_;
  void* code_ = MAP_FAILED;
};

UniqueFd probe_return(const ProbedFunction& function, pid_t pid) {
  const auto type = read_file("/sys/bus/event_source/devices/uprobe/type");
  const auto number = type ? parse_number<uint32_t>(trim(*type)) : std::nullopt;
  if (!number) return {};
  const std::string path = function.path();
  perf_event_attr attr{};
  attr.size = sizeof(attr);
  attr.type = *number;
  attr.config = kReturnProbe;
  attr.uprobe_path = reinterpret_cast<uintptr_t>(path.c_str());
  return UniqueFd(
      static_cast<int>(::syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC)));
}

// Only read, write, _exit and sigreturn are allowed here, and _exit is not exit_group.
[[noreturn]] void call_under_seccomp(const ProbedFunction& function, int go) {
  char word = 0;
  if (::read(go, &word, 1) != 1) ::_exit(2);
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) ::syscall(SYS_exit, 3);
  function.call();
  ::syscall(SYS_exit, 0);
  __builtin_unreachable();
}

Fact not_tried(std::string_view why) {
  return {false, fmt::format("it could not be tried whether a return probe kills a process under a "
                             "seccomp filter: {}",
                             why)};
}

}  // namespace

Fact try_return_probe_under_seccomp() {
  ProbedFunction function;
  int ends[2];
  if (!function.make() || ::pipe2(ends, O_CLOEXEC) != 0) return not_tried("no room for a trial");
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return not_tried("no child can be made");
  if (child == 0) {
    writer.reset();  // so that it ends with us, however we end
    call_under_seccomp(function, reader.get());
  }
  const UniqueFd probe = probe_return(function, child);
  const int error = errno;
  const char word = 1;
  const bool told = probe.valid() && ::write(writer.get(), &word, 1) == 1;
  if (!told) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (!told) return not_tried(std::strerror(error));
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {true, ""};
  if (WIFSIGNALED(status)) {
    return {false,
            "on this kernel a return probe kills a process under a seccomp filter: such processes "
            "are not traced (fixed in 6.14 and in stable kernels: update it)"};
  }
  return not_tried("the kernel has no seccomp");
}

}  // namespace tidemark::kernel
