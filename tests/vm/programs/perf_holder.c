// SPDX-License-Identifier: Apache-2.0
//
// Keeps one perf event of a task, and two programs at each tracepoint of system calls and of the
// kernel's allocators, for as long as the guest lives. The kernel patches its own code whenever the
// first of these comes and the last one goes (and for a tracepoint at the second one, too), which
// every start of tidemark would do; and qemu's emulation with several threads now and then lets a
// CPU run into the patch: "Oops: int3" in __schedule(), seen on 6.12, in trace_syscall_exit()
// on 7.2, and where
// __alloc_frozen_pages_noprof() has its tracepoint there. A real processor does not.
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int hold_perf_event(void) {
  struct perf_event_attr attr;
  memset(&attr, 0, sizeof(attr));
  attr.size = sizeof(attr);
  attr.type = PERF_TYPE_SOFTWARE;
  attr.config = PERF_COUNT_SW_DUMMY;
  return syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC) >= 0;
}

// A program that does nothing; each is a new one, since a tracepoint takes the same one only once.
static int hold_tracepoint(const char* name) {
  const struct bpf_insn nothing[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K},
                                     {.code = BPF_JMP | BPF_EXIT}};
  union bpf_attr attr;
  memset(&attr, 0, sizeof(attr));
  attr.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT;
  attr.insns = (unsigned long)nothing;
  attr.insn_cnt = sizeof(nothing) / sizeof(nothing[0]);
  attr.license = (unsigned long)"GPL";
  const long program = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
  if (program < 0) return 0;
  memset(&attr, 0, sizeof(attr));
  attr.raw_tracepoint.name = (unsigned long)name;
  attr.raw_tracepoint.prog_fd = (unsigned)program;
  return syscall(SYS_bpf, BPF_RAW_TRACEPOINT_OPEN, &attr, sizeof(attr)) >= 0;
}

static const char* const kOnAllKernels[] = {
    "sys_enter",         "sys_exit",     "kmalloc",
    "kmem_cache_alloc",  "kfree",        "kmem_cache_free",
    "mm_page_alloc",     "mm_page_free", "percpu_alloc_percpu",
    "percpu_free_percpu"};
// Those by node went with 6.1.
static const char* const kOnOldKernels[] = {"kmalloc_node", "kmem_cache_alloc_node"};

static int hold_all(void) {
  if (!hold_perf_event()) return 0;
  for (int i = 0; i < 2; ++i) {
    for (size_t at = 0; at < sizeof(kOnAllKernels) / sizeof(kOnAllKernels[0]); ++at) {
      if (!hold_tracepoint(kOnAllKernels[at])) return 0;
    }
    for (size_t at = 0; at < sizeof(kOnOldKernels) / sizeof(kOnOldKernels[0]); ++at) {
      hold_tracepoint(kOnOldKernels[at]);
    }
  }
  return 1;
}

// Ends when its child holds them all: until then nothing else is to run.
int main(void) {
  int done[2];
  char word = 0;
  if (pipe(done) != 0) return 1;
  const pid_t holder = fork();
  if (holder < 0) return 1;
  if (holder == 0) {
    word = (char)hold_all();
    if (write(done[1], &word, 1) != 1 || !word) _exit(1);
    for (;;) pause();
  }
  return read(done[0], &word, 1) == 1 && word ? 0 : 1;
}
