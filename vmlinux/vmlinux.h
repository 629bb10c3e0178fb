/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel types and fields that our BPF programs read, and no more: the full vmlinux.h makes a 2
 * MB skeleton, this one 12 KB. Everything marked preserve_access_index is relocated (CO-RE) to the
 * running kernel, so order and offsets here mean nothing; names and types do, and
 * tests/check/vmlinux compares them with the running kernel's BTF. pt_regs is the context of uprobe
 * programs, whose layout is fixed and not relocated.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#include <linux/bpf.h>
#include <stdbool.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
  unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
  unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
  __u64 regs[31];
  __u64 sp;
  __u64 pc;
  __u64 pstate;
};
struct pt_regs;
#else
#error "tidemark knows x86 and arm64"
#endif

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
  int counter;
} atomic_t;

struct signal_struct {
  atomic_t live;
  int group_exit_code;
  unsigned int flags;
};

struct mm_struct {
  unsigned long start_stack;
};

struct mm_struct;

struct task_struct {
  int pid;
  int tgid;
  int exit_code;
  struct mm_struct* mm;
  struct signal_struct* signal;
};

#pragma clang attribute pop

#endif
