/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernels and machines, one accessor each. Never asks for a version: userspace
 * probes the host once (kernel/facts) and sets the constants below before loading, the verifier
 * then drops the branch that is not taken.
 */
#ifndef TIDEMARK_COMPAT_BPF_H
#define TIDEMARK_COMPAT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

/*
 * bpf_get_current_task_btf() and task storage for tracing programs: 3ca1032ab7ab "bpf: Implement
 * get_current_task_btf and RET_PTR_TO_BTF_ID" and a10787e6d58c "bpf: Enable task local storage for
 * tracing programs", Linux 5.11 and 5.12. Can go when 5.10 does.
 */
const volatile bool have_task_storage __weak = true;

/*
 * Since 6.13 (e00931c02568 "bpf: Enable private stack for eligible subprogs") programs of the
 * kprobe type get a per-CPU stack, on the ground that they can't be entered twice on a CPU. uprobe
 * programs can: they run preemptible, and two tasks then write over each other's locals (seen
 * on 7.2 as sizes that were pointers). A program with a tail call anywhere is left on the kernel
 * stack; this one is never reached.
 */
const volatile bool never __weak = false;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} no_programs __weak SEC(".maps");

static __always_inline void stay_on_kernel_stack(void *ctx)
{
	if (never)
		bpf_tail_call(ctx, &no_programs, 0);
}

/*
 * Results of bpf_map_update_elem() and bpf_map_delete_elem() go into an int: until 6.4
 * the kernel's functions, which the
 * verifier calls in place of the helpers, returned one, so that an error fills the lower half of
 * the register only and is no negative long.
 */

/* bpf_get_attach_cookie(): 7adfc6c9b315 "bpf: Add bpf_get_attach_cookie() BPF helper to access
 * bpf_cookie value", Linux 5.15. */
const volatile bool have_attach_cookie __weak = true;

/* The mm of the task that runs, as a number: an identity, never followed. */
static __always_inline u64 current_mm(void)
{
	if (have_task_storage)
		return (u64)bpf_get_current_task_btf()->mm;
	struct task_struct *task = (void *)bpf_get_current_task();

	return (u64)BPF_CORE_READ(task, mm);
}

#if defined(__TARGET_ARCH_x86)
/* The return address lies on the stack: call pushed it, ret takes it. */
#define CALL_PUSHES_RETURN_ADDRESS 1
#define USER_PC(ctx)		   ((ctx)->ip)
#define USER_FP(ctx)		   ((ctx)->bp)
#define USER_SP(ctx)		   ((ctx)->sp)
#define USER_LINK(ctx)		   0UL
#elif defined(__TARGET_ARCH_arm64)
#define CALL_PUSHES_RETURN_ADDRESS 0
#define USER_PC(ctx)		   (((struct user_pt_regs *)(ctx))->pc)
#define USER_FP(ctx)		   (((struct user_pt_regs *)(ctx))->regs[29])
#define USER_SP(ctx)		   (((struct user_pt_regs *)(ctx))->sp)
#define USER_LINK(ctx)		   (((struct user_pt_regs *)(ctx))->regs[30])
#endif

/*
 * Where the stack pointer stood when the function was entered; `stack_words` were pushed since. At
 * the return probe it stands one word above that on x86 (ret has taken the return address), on it
 * elsewhere.
 */
static __always_inline u64 entry_sp(struct pt_regs *ctx, u32 stack_words)
{
	return USER_SP(ctx) + 8UL * stack_words;
}

static __always_inline u64 entry_sp_at_return(struct pt_regs *ctx)
{
	return USER_SP(ctx) - 8UL * CALL_PUSHES_RETURN_ADDRESS;
}

/* The return address of a call whose entry stack pointer is `sp`; 0 if it could not be read. */
static __always_inline u64 return_address(struct pt_regs *ctx, u64 sp)
{
	u64 address = 0;

	if (!CALL_PUSHES_RETURN_ADDRESS)
		return USER_LINK(ctx);
	bpf_probe_read_user(&address, sizeof(address), (void *)sp);
	return address;
}

/* A return probe's trampoline lies at the start of a page. */
static __always_inline bool is_trampoline(u64 address)
{
	return address && (address & 4095) == 0;
}

/*
 * Is the call that was entered with the stack pointer `sp` still to return? Its return probe has
 * put the address of a trampoline in place of its return address. Once the call was left by
 * longjmp or by an exception and its frame used again, something else stands there.
 */
static __always_inline bool return_is_pending(u64 sp)
{
	u64 slot = 0;

	if (!CALL_PUSHES_RETURN_ADDRESS)
		return true;
	bpf_probe_read_user(&slot, sizeof(slot), (void *)sp);
	return is_trampoline(slot);
}

/* Does the return address of the call that was entered with `sp` still stand where it was put? */
static __always_inline bool return_is_unchanged(u64 sp, u64 address)
{
	u64 slot = 0;

	if (!CALL_PUSHES_RETURN_ADDRESS)
		return true;
	bpf_probe_read_user(&slot, sizeof(slot), (void *)sp);
	return slot == address;
}

#endif
