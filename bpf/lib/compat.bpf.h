/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernels and machines, one accessor each. Never asks for a version: userspace
 * probes the host once (kernel/facts) and sets the constants below before loading, the verifier
 * then drops the branch that is not taken.
 */
#ifndef TIDEMARK_COMPAT_BPF_H
#define TIDEMARK_COMPAT_BPF_H

#include "vmlinux.h"
#include "../abi/heap.h"
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

/* Programs of one array have to be attached in the same way. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} no_session_programs __weak SEC(".maps");

static __always_inline void stay_on_kernel_stack(void *ctx)
{
	if (never)
		bpf_tail_call(ctx, &no_programs, 0);
}

/* The same, in a program of a session. */
static __always_inline void session_stay_on_kernel_stack(void *ctx)
{
	if (never)
		bpf_tail_call(ctx, &no_session_programs, 0);
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

/*
 * Is this the return, in a program that is attached to a function's entry and return alike (session
 * links: d920179b3d48 "bpf: Add support for uprobe multi session attach", Linux 6.13)? At the entry
 * the instruction pointer is at the probe. bpf_session_is_return() would say it too, but takes an
 * argument since 7.0 and none before.
 */
static __always_inline bool session_returns(struct pt_regs *ctx)
{
	return bpf_get_func_ip(ctx) != PT_REGS_IP(ctx);
}

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

/* A register of the context. Kept from clang, which would choose between addresses in the context:
 * the verifier allows only constant ones. */
#define CONTEXT_WORD(ctx, word)                                                                    \
	({                                                                                         \
		u64 value = (ctx)->word;                                                           \
		barrier_var(value);                                                                \
		value;                                                                             \
	})

/* What is in a register, by enum tm_register: userspace names one only where it knows the machine.
 */
static __always_inline u64 moved_argument(struct pt_regs *ctx, u32 place)
{
#if defined(__TARGET_ARCH_x86)
	u64 ax = CONTEXT_WORD(ctx, ax), cx = CONTEXT_WORD(ctx, cx), dx = CONTEXT_WORD(ctx, dx);
	u64 si = CONTEXT_WORD(ctx, si), di = CONTEXT_WORD(ctx, di), r8 = CONTEXT_WORD(ctx, r8);
	u64 r9 = CONTEXT_WORD(ctx, r9), r10 = CONTEXT_WORD(ctx, r10), r11 = CONTEXT_WORD(ctx, r11);

	switch (place) {
	case TM_REGISTER_AX:
		return ax;
	case TM_REGISTER_CX:
		return cx;
	case TM_REGISTER_DX:
		return dx;
	case TM_REGISTER_SI:
		return si;
	case TM_REGISTER_DI:
		return di;
	case TM_REGISTER_8:
		return r8;
	case TM_REGISTER_9:
		return r9;
	case TM_REGISTER_10:
		return r10;
	case TM_REGISTER_11:
		return r11;
	}
#endif
	return 0;
}

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

/* The user's word at `address`; 0 if it can't be read. */
static __always_inline u64 user_word(u64 address)
{
	u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)address);
	return word;
}

#if defined(__TARGET_ARCH_x86)
#define ENDBR64 0xfa1e0ff3
#define BND	0xf2

/* Where a function begins, or the one that a PLT stub jumps to: jmp *slot(%rip), with endbr64 and
 * bnd in front of it in some. */
static __always_inline u64 behind_stub(u64 function)
{
	u64 at = function, code = user_word(at);

	if ((u32)code == ENDBR64) {
		at += 4;
		code = user_word(at);
	}
	if ((code & 0xff) == BND) {
		at += 1;
		code >>= 8;
	}
	return (code & 0xffff) == 0x25ff ? user_word(at + 6 + (s32)(code >> 16)) : function;
}
#endif

/*
 * The one function that the call in front of this return address leads to, by call rel32 (through
 * the PLT, too) or by call *slot(%rip); 0 where a register or a table says which, and where the
 * dynamic linker has not yet.
 */
static __always_inline u64 called_function(u64 address)
{
#if defined(__TARGET_ARCH_x86)
	u64 code = user_word(address - 8);
	u64 target = address + (s32)(code >> 32);

	if ((code >> 16 & 0xffff) == 0x15ff)
		return user_word(target);
	return (code >> 24 & 0xff) == 0xe8 ? behind_stub(target) : 0;
#else
	return 0;
#endif
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
