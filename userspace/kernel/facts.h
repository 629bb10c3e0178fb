// SPDX-License-Identifier: Apache-2.0
//
// What this host's kernel can do, found by trying and never by version. Probed once; plain values,
// so that tests can make any host they like. Needs the privileges of tracing for most of it:
// without them the fields say so.
#pragma once

#include <string>

#include "support/result.h"

namespace tidemark::kernel {

// A capability with the reason where it is not there.
struct Fact {
  bool present = false;
  std::string reason;  // why not; may say more where present
};

struct Facts {
  std::string release;    // uname -r, for people only
  std::string machine;    // uname -m
  Fact bpf;               // tracing programs load
  Fact btf;               // /sys/kernel/btf/vmlinux
  Fact uprobe_multi;      // many uprobes by one link
  Fact uprobe_multi_pid;  // and its process filter means the process (broken in 6.6 to 6.9)
  Fact uprobe_session;    // one program at a function's entry and return, which may skip the return
  Fact emulated_jumps;    // push, nop, jumps and calls are emulated under a uprobe
  Fact emulated_long_nops;      // so are nops with operands
  Fact task_storage;            // bpf_task_storage_get() in uprobe programs
  Fact attach_cookie;           // bpf_get_attach_cookie()
  Fact seccomp_returns;         // return probes do no harm under a seccomp filter
  Fact syscall_tracepoints;     // sys_enter and sys_exit, with types
  Fact whole_syscall_programs;  // none is skipped because another task was preempted in it
};

[[nodiscard]] Facts probe_host();

}  // namespace tidemark::kernel
