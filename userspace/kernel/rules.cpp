// SPDX-License-Identifier: Apache-2.0
#include "kernel/rules.h"

namespace tidemark::kernel {

Result<HeapPlan> plan_heap(const Facts& facts) {
  if (!facts.bpf.present) return fail("{}", facts.bpf.reason);
  if (!facts.btf.present) return fail("{}", facts.btf.reason);
  HeapPlan plan;
  const bool multi = facts.uprobe_multi.present && facts.uprobe_multi_pid.present;
  plan.uprobes = multi ? UprobeMethod::kMulti : UprobeMethod::kPerf;
  plan.thread_state =
      facts.task_storage.present ? ThreadState::kTaskStorage : ThreadState::kHashByTid;
  plan.sessions = multi && facts.uprobe_session.present;
  plan.cookies = facts.attach_cookie.present ? Cookies::kAttached : Cookies::kByAddress;
  return plan;
}

Result<MappingPlan> plan_mappings(const Facts& facts) {
  if (!facts.syscall_tracepoints.present) return fail("{}", facts.syscall_tracepoints.reason);
  return MappingPlan{facts.whole_syscall_programs.present ? SyscallPrograms::kOnce
                                                          : SyscallPrograms::kSeveralTimes};
}

std::vector<Finding> describe(const Facts& facts) {
  const auto row = [](std::string what, const Fact& fact, std::string when_present) {
    return Finding{std::move(what), fact.present,
                   fact.present ? std::move(when_present) : fact.reason};
  };
  return {
      row("BPF programs", facts.bpf, "tracing programs load"),
      row("kernel BTF", facts.btf, "/sys/kernel/btf/vmlinux"),
      row("attach cookies", facts.attach_cookie, "a probe knows its allocator"),
      row("uprobe_multi", facts.uprobe_multi, "one link for all probes of a file"),
      row("uprobe_multi process filter", facts.uprobe_multi_pid,
          "only the target's memory gets probes"),
      row("uprobe sessions", facts.uprobe_session,
          "a call that is not sampled takes no trap at its return"),
      row("emulated push and jumps", facts.emulated_jumps,
          "a probe on one costs a fraction of any other"),
      row("emulated long nops", facts.emulated_long_nops, "they are cheap sites too"),
      row("task storage", facts.task_storage, "a thread's call is kept with the thread"),
      row("return probes under seccomp", facts.seccomp_returns, "a filtered process lives"),
      row("system call tracepoints", facts.syscall_tracepoints, "mappings are followed"),
      row("whole system call programs", facts.whole_syscall_programs, "none is skipped"),
  };
}

}  // namespace tidemark::kernel
