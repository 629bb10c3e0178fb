/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * System calls as the tracepoints sys_enter and sys_exit show them: numbers, arguments, whose ABI.
 */
#ifndef TIDEMARK_SYSCALL_BPF_H
#define TIDEMARK_SYSCALL_BPF_H

#include <asm/unistd.h>
#include "compat.bpf.h"

#if defined(__TARGET_ARCH_x86)
#define SYSCALL_NUMBER(regs) ((regs)->orig_ax)
#define SYSCALL_ARG1(regs)   ((regs)->di)
#define SYSCALL_ARG2(regs)   ((regs)->si)
#define SYSCALL_ARG3(regs)   ((regs)->dx)
#define SYSCALL_ARG4(regs)   ((regs)->r10)
#define SYSCALL_ARG5(regs)   ((regs)->r8)

/* thread_info.status: a system call of 32-bit code, which has other numbers. Same value since
 * 4.16: arch/x86/include/asm/thread_info.h. */
#define TS_COMPAT 0x0002

static __always_inline bool is_foreign_syscall(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, thread_info.status) & TS_COMPAT;
}
#elif defined(__TARGET_ARCH_arm64)
#define SYSCALL_NUMBER(regs) (((struct user_pt_regs *)(regs))->regs[8])
#define SYSCALL_ARG1(regs)   (((struct user_pt_regs *)(regs))->regs[0])
#define SYSCALL_ARG2(regs)   (((struct user_pt_regs *)(regs))->regs[1])
#define SYSCALL_ARG3(regs)   (((struct user_pt_regs *)(regs))->regs[2])
#define SYSCALL_ARG4(regs)   (((struct user_pt_regs *)(regs))->regs[3])
#define SYSCALL_ARG5(regs)   (((struct user_pt_regs *)(regs))->regs[4])

static __always_inline bool is_foreign_syscall(void)
{
	return false;
}
#endif

/* Results from -4095 to -1 are error codes. */
static __always_inline bool is_error(u64 result)
{
	return result > (u64)-4096;
}

#endif
