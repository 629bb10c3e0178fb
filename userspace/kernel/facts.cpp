// SPDX-License-Identifier: Apache-2.0
#include "kernel/facts.h"

#include <linux/bpf.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "kernel/emulation_trial.h"
#include "kernel/seccomp_trial.h"
#include "support/file.h"
#include "support/unique_fd.h"
#include "support/uprobe.h"

namespace tidemark::kernel {
namespace {

uint64_t as_u64(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer);
}

template <typename Attr>
int bpf_call(int command, Attr& attr) {
  return static_cast<int>(::syscall(SYS_bpf, command, &attr, sizeof(attr)));
}

struct LoadResult {
  UniqueFd fd;
  int error = 0;  // errno where fd is not valid
  std::string log;
};

// Until 5.11 what BPF takes counts as locked memory, of all processes of a user together, and EPERM
// says that it is too much. libbpf raises the limit too, but only when it loads its first object.
bool raise_locked_memory_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return false;
  const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_MEMLOCK, &none) == 0) return true;
  if (limit.rlim_cur == limit.rlim_max) return false;
  limit.rlim_cur = limit.rlim_max;
  return ::setrlimit(RLIMIT_MEMLOCK, &limit) == 0;
}

LoadResult load_program(std::span<const bpf_insn> code, uint32_t attach_type, bool want_log) {
  std::array<char, 4096> log{};
  bpf_attr attr;
  std::memset(&attr, 0, sizeof(attr));
  attr.prog_type = BPF_PROG_TYPE_KPROBE;
  attr.expected_attach_type = attach_type;
  attr.insns = as_u64(code.data());
  attr.insn_cnt = static_cast<uint32_t>(code.size());
  attr.license = as_u64("GPL");
  if (want_log) {
    attr.log_buf = as_u64(log.data());
    attr.log_size = log.size();
    attr.log_level = 1;
  }
  LoadResult result;
  int fd = bpf_call(BPF_PROG_LOAD, attr);
  if (fd < 0 && errno == EPERM && raise_locked_memory_limit()) fd = bpf_call(BPF_PROG_LOAD, attr);
  if (fd < 0) result.error = errno;
  result.fd = UniqueFd(fd);
  result.log = log.data();
  return result;
}

constexpr const char* kKernelTypes = "/sys/kernel/btf/vmlinux";

constexpr bpf_insn kReturnZero = {BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0};
constexpr bpf_insn kExit = {BPF_JMP | BPF_EXIT, 0, 0, 0, 0};
constexpr std::array kEmptyProgram = {kReturnZero, kExit};

Fact probe_bpf() {
  const LoadResult result = load_program(kEmptyProgram, 0, false);
  if (result.fd.valid()) return {true, ""};
  if (result.error == EPERM || result.error == EACCES) {
    return {false,
            "no permission to load BPF programs: run as root"
            " (or with CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH)"};
  }
  if (result.error == ENOSYS)
    return {false, "this kernel is built without BPF (CONFIG_BPF_SYSCALL)"};
  return {false,
          fmt::format("the kernel loads no tracing program: {}", std::strerror(result.error))};
}

Fact probe_btf() {
  if (::access(kKernelTypes, R_OK) == 0) return {true, ""};
  return {false,
          "/sys/kernel/btf/vmlinux is missing: this kernel was built without CONFIG_DEBUG_INFO_BTF,"
          " or /sys is not mounted here"};
}

// A program that calls the helper with nothing set up never passes the verifier; what matters is
// whether it complains about the arguments or about the helper itself.
Fact probe_helper(int32_t helper, std::string_view name) {
  const std::array code = {bpf_insn{BPF_JMP | BPF_CALL, 0, 0, 0, helper}, kReturnZero, kExit};
  const LoadResult result = load_program(code, 0, true);
  const bool unknown =
      result.log.find("invalid func ") != std::string::npos ||
      result.log.find("unknown func ") != std::string::npos ||
      result.log.find("program of this type cannot use helper") != std::string::npos;
  if (result.fd.valid() || (!unknown && !result.log.empty())) return {true, ""};
  return {false, fmt::format("this kernel has no {}() for uprobe programs", name)};
}

// The error of a uprobe_multi link that can't succeed, for the reason that comes first in this
// kernel.
int try_uprobe_multi(const char* path, uint32_t pid, uint32_t attach_type = kAttachUprobeMulti,
                     std::span<const bpf_insn> code = kEmptyProgram) {
  const LoadResult program = load_program(code, attach_type, false);
  if (!program.fd.valid()) return program.error;
  const uint64_t offset = 0;
  UprobeMultiAttr attr{};
  attr.prog_fd = static_cast<uint32_t>(program.fd.get());
  attr.attach_type = attach_type;
  attr.path = as_u64(path);
  attr.offsets = as_u64(&offset);
  attr.count = 1;
  attr.pid = pid;
  const UniqueFd link(bpf_call(BPF_LINK_CREATE, attr));
  return link.valid() ? 0 : errno;
}

// "/" is no regular file: a kernel that has uprobe_multi says EBADF, one that has not says EINVAL.
Fact probe_uprobe_multi() {
  const int error = try_uprobe_multi("/", 0);
  if (error == EBADF) return {true, ""};
  return {
      false,
      "this kernel has no uprobe_multi links (they came with 6.6): one perf event a probe is used"};
}

// Kernels that filter by process refuse pid -1 with EINVAL before they look at the file; those that
// filtered by thread did not.
Fact probe_uprobe_multi_pid() {
  const int error = try_uprobe_multi("/", UINT32_MAX);
  if (error == EINVAL) return {true, ""};
  return {false,
          "the process filter of this kernel's uprobe_multi means a thread: one perf event a probe "
          "is used"};
}

// Has the kernel a type, a function or the like of this name? `types` is its BTF, which ends in all
// names, each between two zeroes.
bool is_named(std::string_view types, std::string_view name) {
  constexpr char kZero = 0;
  std::string between(1, kZero);
  between += name;
  between += kZero;
  return types.find(between) != std::string_view::npos;
}

// Without the types nothing is traced at all, and the second row would say the same as the first.
void probe_syscalls(Facts& facts) {
  const auto types = read_file(kKernelTypes);
  const bool traced =
      types && is_named(*types, "btf_trace_sys_enter") && is_named(*types, "btf_trace_sys_exit");
  facts.syscall_tracepoints = {
      traced, traced ? ""
                     : "this kernel has no system call tracepoints (CONFIG_FTRACE_SYSCALLS): "
                       "mappings are not followed"};
  // Linux 7.2 made these programs preemptible, by a function of this name for those of perf.
  const bool preempted = traced && is_named(*types, "trace_call_bpf_faultable");
  facts.whole_syscall_programs = {
      !preempted, preempted ? "this kernel skips a program of a system call where another task is "
                              "in it: each is attached eight times"
                            : ""};
}

// The program of a session asks which of the two it is by bpf_get_func_ip().
Fact probe_uprobe_session() {
  constexpr std::array kAsksForIp = {bpf_insn{BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_func_ip},
                                     kReturnZero, kExit};
  const int error = try_uprobe_multi("/", 0, kAttachUprobeSession, kAsksForIp);
  if (error == EBADF) return {true, ""};
  return {
      false,
      "this kernel has no uprobe sessions (they came with 6.13): when sampling, each call takes "
      "a second trap at its return"};
}

}  // namespace

Facts probe_host() {
  Facts facts;
  utsname names{};
  ::uname(&names);
  facts.release = names.release;
  facts.machine = names.machine;
  facts.bpf = probe_bpf();
  facts.btf = probe_btf();
  facts.uprobe_multi = probe_uprobe_multi();
  facts.uprobe_multi_pid = facts.uprobe_multi.present
                               ? probe_uprobe_multi_pid()
                               : Fact{false, "there is no uprobe_multi to filter"};
  facts.uprobe_session = facts.uprobe_multi_pid.present
                             ? probe_uprobe_session()
                             : Fact{false, "there is no uprobe_multi to make sessions of"};
  facts.task_storage = probe_helper(BPF_FUNC_task_storage_get, "bpf_task_storage_get");
  facts.attach_cookie = probe_helper(BPF_FUNC_get_attach_cookie, "bpf_get_attach_cookie");
  facts.seccomp_returns = try_return_probe_under_seccomp();
  probe_syscalls(facts);
  // Last: its probes go in the background, and whatever else has to do with probes waits for that.
  EmulationTrial emulation = try_emulation();
  facts.emulated_jumps = std::move(emulation.jumps);
  facts.emulated_long_nops = std::move(emulation.long_nops);
  return facts;
}

}  // namespace tidemark::kernel
