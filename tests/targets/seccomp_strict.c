// SPDX-License-Identifier: Apache-2.0
//
// Answer: under a seccomp filter that kills whatever does more than read, write and exit,
// filtered_block() keeps 100 blocks of 64 bytes. The heap has room before: no system call is made
// for them.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "target.h"

enum { BLOCKS = 100, BLOCK_BYTES = 64 };

static struct target_site site = {"filtered_block", 0, 0, 0, 0, 0};

TARGET_NOINLINE void filtered_block(void) {
  void* block = malloc(BLOCK_BYTES);
  TARGET_USE(block);
  target_born(&site, BLOCK_BYTES);
}

#define ALLOW(number) \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static int filter_ourselves(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      ALLOW(SYS_read),
      ALLOW(SYS_write),
      ALLOW(SYS_exit),
      ALLOW(SYS_exit_group),
      ALLOW(SYS_rt_sigreturn),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(void) {
  // glibc grows the heap by what is asked for and 128 KiB more.
  void* room = malloc(1024);
  TARGET_USE(room);
  if (filter_ourselves() != 0) return 71;
  target_say("ready");
  target_await("go");
  for (int i = 0; i < BLOCKS; ++i) filtered_block();
  target_say("done");
  target_say_ledger(&site, 1);
  target_await_quit();
}
