/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A call of the kernel's as a kprobe sees it.
 */
#ifndef TIDEMARK_KPROBE_BPF_H
#define TIDEMARK_KPROBE_BPF_H

#include "kernel_calls.bpf.h"
#include <bpf/bpf_tracing.h>

/* At its return the stack pointer stands behind the return address. */
#define ENTRY_FRAME(ctx)  (PT_REGS_SP(ctx))
#define RETURN_FRAME(ctx) (PT_REGS_SP(ctx) - sizeof(u64))

/* libbpf 1.1 counts to five. */
#if defined(__TARGET_ARCH_x86)
#define SIXTH_ARGUMENT(ctx) ((ctx)->r9)
#elif defined(__TARGET_ARCH_arm64)
#define SIXTH_ARGUMENT(ctx) (((struct user_pt_regs *)(ctx))->regs[5])
#endif

static __always_inline u64 word_on_stack(struct pt_regs *ctx, u32 index)
{
	return word_at(PT_REGS_SP(ctx), index);
}

#endif
