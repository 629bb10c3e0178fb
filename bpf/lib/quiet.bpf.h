/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Quiet calls: those that were decided against, so that they return without a trap (sessions).
 *
 * A block is decided upon once, in the outermost call. A quiet call leaves no trampoline on the
 * stack, so that what it calls itself has to be told otherwise: it comes from the allocator's own
 * code while the quiet call's return address stands where it was; or it is a tail call, which finds
 * the same return address at the same depth, though the call instruction in front of it never calls
 * that function. Only a call instruction that leads to one function alone says so: a call through a
 * register may call the next one as well, and so may one of a function in between that jumps on
 * (realloc(NULL), where a wrapper makes a malloc of it). After such a call the return is seen.
 */
#ifndef TIDEMARK_QUIET_BPF_H
#define TIDEMARK_QUIET_BPF_H

#include "thread.bpf.h"

/* A function's probe lies at most so far behind its entry: elf/probe_site.cpp. */
#define SITE_SPAN 64

/* Call instructions that were found to lead to one function, by what lies behind them. */
static __always_inline struct direct_call *direct_call_of(struct thread_state *thread, u64 caller)
{
	return &thread->direct_calls[caller * 0x9e3779b97f4a7c15UL >> (64 - DIRECT_CALL_BITS)];
}

/* Does the call instruction in front of `caller` call the function that is probed at `site`, and
 * nothing else ever? False where that can't be said. */
static __always_inline bool calls_directly(struct thread_state *thread, u64 caller, u64 site,
					   u32 probe)
{
	struct direct_call *known = direct_call_of(thread, caller);

	if (known->caller == caller && known->probe == probe)
		return true;
	if (site - called_function(caller) >= SITE_SPAN)
		return false;
	known->caller = caller;
	known->probe = probe;
	return true;
}

static __always_inline void note_quiet_call(struct thread_state *thread, u64 sp, u64 caller,
					    u32 probe)
{
	thread->quiet.sp = sp;
	thread->quiet.caller = caller;
	thread->quiet.probe = probe;
}

static __always_inline bool lies_within_quiet_call(const struct thread_state *thread, u64 sp)
{
	const struct quiet_call *quiet = &thread->quiet;

	return quiet->sp && sp <= quiet->sp && quiet->sp - sp < STACK_SPAN_LIMIT;
}

/* Its return address, or the trampoline of somebody else's return probe on the same function. */
static __always_inline bool quiet_return_stands(const struct thread_state *thread)
{
	return return_is_unchanged(thread->quiet.sp, thread->quiet.caller) ||
	       return_is_pending(thread->quiet.sp);
}

/*
 * May what happens at `sp` be a part of the quiet call? If not, its slot has just not been used
 * again since it returned.
 */
static __always_inline bool in_quiet_call(const struct thread_state *thread, u64 sp)
{
	return lies_within_quiet_call(thread, sp) && quiet_return_stands(thread);
}

/* Is the call of `probe` that begins at `sp` made by the quiet one? */
static __always_inline bool is_part_of_quiet_call(const struct thread_state *thread, u32 owner,
						  u64 sp, u64 caller, u32 probe)
{
	const struct quiet_call *quiet = &thread->quiet;
	struct tm_text_key key = {.owner = owner, .probe = quiet->probe};
	struct tm_text *text;

	if (!lies_within_quiet_call(thread, sp))
		return false;
	if (sp == quiet->sp)
		return (caller == quiet->caller || is_trampoline(caller)) && probe != quiet->probe;
	text = bpf_map_lookup_elem(&allocator_text, &key);
	return text && caller >= text->own_start && caller <= text->own_end &&
	       quiet_return_stands(thread);
}

#endif
