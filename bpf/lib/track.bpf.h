/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Allocator calls as bookkeeping: a call begins at the entry probe and is settled at the return
 * probe. What keeps the sums right:
 *  - free is seen at entry, before the memory is given back, malloc at return, before the caller
 * has the pointer; so on every CPU delete(p) comes before the next insert(p).
 *  - realloc takes the old record out at entry and settles it at return: by then the old address
 * may be another thread's.
 *  - the outermost call wins: what an allocator calls inside itself is not counted.
 *  - whoever deletes a record subtracts it, from a copy made before.
 */
#ifndef TIDEMARK_TRACK_BPF_H
#define TIDEMARK_TRACK_BPF_H

#include "block.bpf.h"
#include "filter.bpf.h"
#include "quiet.bpf.h"
#include "raw_stack.bpf.h"
#include "stack.bpf.h"

/*
 * Entry and return of a call are seen by one program, which says at the entry whether the return is
 * of interest: if not, the function returns without a trap.
 */
const volatile bool have_sessions __weak = false;

/* The pending call has been left without a return. */
static __always_inline void abandon_call(struct thread_state *thread)
{
	if (!sampling || !thread->unsampled)
		count_event(TM_COUNTER_abandoned_calls, thread->size);
	restore_old_block(thread);
	thread->sp = 0;
}

/*
 * Is the pending call still to return, now that another one begins? Not if this one lies further
 * out on the same stack, nor if something else stands in the slot of its return address: then it
 * was left without a return (longjmp). A bare call that is entered anew at the same depth has been
 * left.
 */
static __always_inline bool still_pending(const struct thread_state *thread, u64 sp, u32 probe)
{
	if (sp > thread->sp && sp - thread->sp < STACK_SPAN_LIMIT)
		return false;
	if (thread->bare && sp == thread->sp && probe == thread->probe)
		return false;
	return return_is_to_come(thread);
}

/*
 * A call that begins while another is pending is the allocator's own if it is a tail call (same
 * depth as the pending one or as a probed function inside it, whose trampoline it finds) or comes
 * from the code of the pending call's library. Else a signal handler interrupted the allocator.
 */
static __noinline int count_inner_call(const struct thread_state *thread, u64 sp, u64 caller,
				       u64 size)
{
	struct tm_text_key key = {};
	struct tm_text *text;
	bool own;

	if (!thread)
		return 0;
	key.owner = thread->site.owner;
	key.probe = thread->probe;
	text = bpf_map_lookup_elem(&allocator_text, &key);
	own = sp == thread->sp || is_trampoline(caller) ||
	      (text && caller >= text->start && caller <= text->end);
	count_event(own ? TM_COUNTER_nested_calls : TM_COUNTER_interrupting_calls, size);
	return 0;
}

/* `kept`: userspace has the stack. */
static __always_inline void find_site(struct thread_state *thread, u64 stack_id, bool kept)
{
	struct tm_site empty = {};
	int error;

	thread->site_lost = 0;
	thread->stack_lost = 0;
	thread->site.stack_id = stack_id;
	if (bpf_map_lookup_elem(&sites, &thread->site))
		return;
	if (!kept)
		thread->site.stack_id = keep_stack(stack_id, &thread->stack);
	thread->stack_lost = !thread->site.stack_id;
	error = bpf_map_update_elem(&sites, &thread->site, &empty, BPF_NOEXIST);
	if (error && error != -EEXIST)
		thread->site_lost = 1;
}

/* Whose the block is that a call makes. */
static __always_inline void note_owner(struct thread_state *thread, u32 owner, u16 allocator)
{
	thread->have_old = 0;
	thread->old_address = 0;
	thread->site.owner = owner;
	thread->site.kind = TM_KIND_HEAP;
	thread->site.allocator = allocator;
}

/*
 * Walks the stack from `start` to its call site. False while the gate is not open: then the walk
 * was for the rules that it asks for, and nothing is to be counted.
 */
static __always_inline bool find_call_site(struct thread_state *thread,
					   const struct position *start, u32 owner, u16 allocator)
{
	u64 stack_id, raw_id = 0;

	thread->walk.at = *start;
	thread->walk.owner = owner;
	stack_id = walk_user_stack(thread);
	if (gate_state != TM_GATE_OPEN)
		return false;
	if (thread->walk.guessed)
		raw_id = hand_over_stack(start, owner);
	note_owner(thread, owner, allocator);
	find_site(thread, raw_id ? raw_id : stack_id, raw_id != 0);
	return true;
}

union cookie {
	u64 raw;
	struct tm_cookie fields;
};

/* Argument `n` (from 0) of the call: compilers copy some to another register ahead of the site. */
static __always_inline u64 argument(struct pt_regs *ctx, struct tm_cookie cookie, u32 n)
{
	u32 place = cookie.argument_registers >> (4 * n) & 15;

	if (place)
		return moved_argument(ctx, place);
	switch (n) {
	case 0:
		return PT_REGS_PARM1(ctx);
	case 1:
		return PT_REGS_PARM2(ctx);
	default:
		return PT_REGS_PARM3(ctx);
	}
}

static __always_inline bool known_probe(struct tm_cookie cookie)
{
	if (!(cookie.flags & TM_COOKIE_VALID)) {
		count_event(TM_COUNTER_unknown_probes, 0);
		return false;
	}
	if (gate_state != TM_GATE_LEARNING)
		count_hit(cookie.probe);
	return true;
}

/* What is known of a call when it begins. */
struct call {
	u64 sp; /* at the function's entry */
	u64 caller;
	u64 site; /* of the probe */
	u64 size;
	struct tm_cookie cookie;
	u32 owner;
	u32 shape;
};

static __always_inline void note_call(struct thread_state *thread, const struct call *call)
{
	thread->sp = call->sp;
	thread->caller = call->caller;
	thread->size = call->size;
	thread->shape = call->shape;
	thread->probe = call->cookie.probe;
	thread->bare = !!(call->cookie.flags & TM_COOKIE_BARE);
}

/* Walks the call's stack and finds its site; false where nothing is to be recorded yet. */
static __always_inline bool place_call(struct pt_regs *ctx, struct thread_state *thread,
				       const struct call *call)
{
	struct position start = {.pc = call->caller,
				 .sp = call->sp + 8 * CALL_PUSHES_RETURN_ADDRESS,
				 .fp = USER_FP(ctx)};

	if (!find_call_site(thread, &start, call->owner, call->cookie.allocator))
		return false;
	note_call(thread, call);
	return true;
}

enum following {
	IF_SAMPLED = 0,
	IN_ANY_CASE = 1, /* an old block hangs on what becomes of the call */
};

/*
 * Decides about the block that is to be made. False where nothing of the call is of interest any
 * more. Where its return is seen in any case, it is pending until then: what it calls is told so.
 */
static __always_inline bool decide_call(struct thread_state *thread, const struct call *call,
					u32 following)
{
	u32 probe = call->cookie.probe;

	if (have_sessions &&
	    is_part_of_quiet_call(thread, call->owner, call->sp, call->caller, probe))
		return false;
	thread->unsampled = !is_sampled(thread, call->size);
	if (!thread->unsampled)
		return true;
	if (have_sessions && !(call->cookie.flags & TM_COOKIE_BARE) && following == IF_SAMPLED &&
	    calls_directly(thread, call->caller, call->site, probe)) {
		note_quiet_call(thread, call->sp, call->caller, probe);
		return false;
	}
	note_call(thread, call);
	note_owner(thread, call->owner, call->cookie.allocator);
	return true;
}

/* Begins a call: the state of its thread, or NULL where it is not ours to follow (another owner,
 * nested, not sampled). */
static __noinline struct thread_state *begin_call(struct pt_regs *ctx, u64 raw_cookie, u64 size,
						  u32 shape, u32 following)
{
	union cookie cookie = {.raw = raw_cookie};
	struct call call = {
		.site = PT_REGS_IP(ctx), .size = size, .cookie = cookie.fields, .shape = shape};
	struct thread_state *thread;

	call.owner = current_owner();
	if (!call.owner || gate_state == TM_GATE_DRAINING || !known_probe(cookie.fields))
		return NULL;
	thread = running_thread(true);
	if (!thread) {
		count_event(TM_COUNTER_threads_full, size);
		return NULL;
	}
	call.sp = entry_sp(ctx, cookie.fields.stack_words);
	call.caller = return_address(ctx, call.sp);
	if (thread->sp) {
		if (still_pending(thread, call.sp, cookie.fields.probe)) {
			count_inner_call(thread, call.sp, call.caller, size);
			return NULL;
		}
		abandon_call(thread);
	}
	if (sampling && gate_state == TM_GATE_OPEN) {
		if (!decide_call(thread, &call, following))
			return NULL;
		if (thread->unsampled)
			return thread;
	}
	return place_call(ctx, thread, &call) ? thread : NULL;
}

/* What the entry of a call says to the kernel, in a session: 0: the return is wanted, 1: it is not.
 */
static __always_inline int return_wanted(const struct thread_state *thread)
{
	return thread ? 0 : 1;
}

static __always_inline int track_alloc(struct pt_regs *ctx, u64 cookie, u64 size)
{
	return return_wanted(begin_call(ctx, cookie, size, SHAPE_RESULT, IF_SAMPLED));
}

static __always_inline int track_memptr_alloc(struct pt_regs *ctx, u64 cookie, u64 memptr, u64 size)
{
	struct thread_state *thread = begin_call(ctx, cookie, size, SHAPE_MEMPTR, IF_SAMPLED);

	if (thread)
		thread->memptr = memptr;
	return return_wanted(thread);
}

/* Is a block of the running task's owner known at this address? */
static __always_inline bool is_recorded(u64 address)
{
	struct tm_block_key key = {.address = address, .space = TM_SPACE_HEAP};

	key.owner = current_owner();
	return key.owner && bpf_map_lookup_elem(&blocks, &key);
}

static __always_inline int track_realloc(struct pt_regs *ctx, u64 cookie, u64 address, u64 size,
					 u32 shape)
{
	u32 following = sampling && address && is_recorded(address) ? IN_ANY_CASE : IF_SAMPLED;
	struct thread_state *thread = begin_call(ctx, cookie, size, shape, following);
	struct tm_block old;

	if (!address || gate_state != TM_GATE_OPEN)
		return return_wanted(thread);
	if (!thread) {
		/* A call that can't be followed: begin_call() has counted it, its block may lie
		 * anywhere. Where we sample, it is one whose block is not known. */
		if (!sampling || following == IN_ANY_CASE)
			drop_block(current_owner(), address, TM_COUNTER_MAX);
		return return_wanted(thread);
	}
	thread->old_address = address;
	if (take_block(thread->site.owner, address, &old) == TAKEN) {
		thread->old = old;
		thread->have_old = 1;
	}
	return return_wanted(thread);
}

/* Frees what is at `address`; true if that was a block of ours, or another taker's by now. */
static __always_inline bool free_block(u32 owner, u64 address)
{
	struct tm_block block;
	u32 taking = take_block(owner, address, &block);

	if (taking == TAKEN) {
		subtract_block(&block);
		tell_death(address, &block, TM_DEATH_FREED);
	}
	return taking != NOT_THERE;
}

/*
 * A free of a block that is not known, unless it is a part of another call that was seen: a realloc
 * that frees the block it was given (settled at its return), a delete that calls free.
 */
static __noinline int count_unmatched_free(u64 address)
{
	struct thread_state *thread = running_thread(false);

	/* Blocks that come while the gate closes are not recorded, so their frees say nothing. */
	if (gate_state != TM_GATE_OPEN)
		return 0;
	if (thread && thread->sp && thread->old_address == address)
		return 0;
	if (thread && thread->last_deleted == address) {
		thread->last_deleted = 0;
		return 0;
	}
	count_event(TM_COUNTER_unmatched_frees, 0);
	return 0;
}

static __always_inline int track_free(struct pt_regs *ctx, u64 raw_cookie)
{
	union cookie cookie = {.raw = raw_cookie};
	u64 address = argument(ctx, cookie.fields, 0);
	u32 owner = current_owner();

	if (!owner || !address || gate_state == TM_GATE_LEARNING)
		return 0;
	known_probe(cookie.fields);
	/* Where we sample, a block that is not known is nothing to tell of. */
	if (!free_block(owner, address) && !sampling)
		count_unmatched_free(address);
	return 0;
}

/* A free that may be made of another one of the same block, which is probed as well. */
static __always_inline int track_delete(struct pt_regs *ctx, u64 raw_cookie)
{
	union cookie cookie = {.raw = raw_cookie};
	u64 address = argument(ctx, cookie.fields, 0);
	u32 owner = current_owner();
	struct thread_state *thread;

	if (!owner || !address || gate_state == TM_GATE_LEARNING)
		return 0;
	known_probe(cookie.fields);
	if (!free_block(owner, address))
		return sampling ? 0 : count_unmatched_free(address);
	if (sampling)
		return 0;
	thread = running_thread(true);
	if (thread)
		thread->last_deleted = address;
	return 0;
}

/* Many blocks freed by one call: which ones is not known. */
static __always_inline int track_bulk_free(u64 raw_cookie)
{
	union cookie cookie = {.raw = raw_cookie};

	if (!current_owner() || gate_state == TM_GATE_LEARNING || !known_probe(cookie.fields))
		return 0;
	count_event(TM_COUNTER_bulk_frees, 0);
	return 0;
}

/*
 * An exception is being made: if that is inside a bare call, the call will not return. Seen before
 * the exception's own memory is allocated, so that this is a call like any other.
 */
static __always_inline int track_throw(struct pt_regs *ctx)
{
	struct thread_state *thread;

	if (!current_owner())
		return 0;
	thread = running_thread(false);
	if (!thread || !thread->sp || !thread->bare || USER_SP(ctx) >= thread->sp)
		return 0;
	thread->sp = 0;
	if (!sampling || !thread->unsampled)
		count_event(TM_COUNTER_failed_allocations, thread->size);
	restore_old_block(thread);
	return 0;
}

static __noinline int settle_realloc(struct thread_state *thread, u64 address)
{
	u64 birth_ns;

	if (!thread)
		return 0;
	if (!address && thread->size) {
		count_event(TM_COUNTER_failed_allocations, thread->size);
		if (thread->shape != SHAPE_REALLOCF)
			restore_old_block(thread);
		else if (thread->have_old)
			subtract_block(&thread->old);
		return 0;
	}
	birth_ns = bpf_ktime_get_ns();
	if (thread->have_old) {
		struct tm_block old = thread->old;

		subtract_block(&old);
		tell_death(thread->old_address, &old, TM_DEATH_FREED);
		/* In windows a block is as old as what was seen of it. */
		if (!tells_deaths)
			birth_ns = old.birth_ns;
	} else if (thread->old_address && !sampling && gate_state == TM_GATE_OPEN) {
		count_event(TM_COUNTER_unmatched_frees, 0);
	}
	if (address && !(sampling && thread->unsampled))
		record_block(thread, address, birth_ns);
	return 0;
}

/* A call whose entry stack pointer was `sp` gives back its result, if it is the pending one. */
static __always_inline int settle_call(struct pt_regs *ctx, u64 sp)
{
	struct thread_state *thread;
	u64 address = PT_REGS_RC(ctx);

	if (!current_owner())
		return 0;
	/* Created if need be: then no state means that the kernel refused it, and a call may be
	 * lost. */
	thread = running_thread(true);
	if (!thread) {
		count_event(TM_COUNTER_threads_full, 0);
		return 0;
	}
	if (!thread->sp || thread->sp != sp)
		return 0;
	thread->sp = 0;
	if (thread->shape == SHAPE_RESIZE)
		return settle_realloc(thread, address >= thread->size ? thread->old_address : 0);
	if (thread->shape == SHAPE_REALLOC || thread->shape == SHAPE_REALLOCF)
		return settle_realloc(thread, address);
	if (sampling && thread->unsampled)
		return 0;
	if (thread->shape == SHAPE_MEMPTR) {
		bool failed = (u32)address != 0;

		address = 0;
		if (!failed &&
		    bpf_probe_read_user(&address, sizeof(address), (void *)thread->memptr)) {
			count_event(TM_COUNTER_unreadable_results, thread->size);
			return 0;
		}
	}
	if (!address) {
		count_event(TM_COUNTER_failed_allocations, thread->size);
		return 0;
	}
	return record_block(thread, address, bpf_ktime_get_ns());
}

static __always_inline int track_return(struct pt_regs *ctx)
{
	return settle_call(ctx, entry_sp_at_return(ctx));
}

/* At a return instruction: nothing is on the stack but the return address. */
static __always_inline int track_leave(struct pt_regs *ctx)
{
	return settle_call(ctx, entry_sp(ctx, 0));
}

/* The dynamic linker has changed what is mapped: userspace is asked to look. */
static __always_inline int track_library(void)
{
	struct tm_rule_key news = {};

	news.owner = current_owner();
	if (news.owner)
		bpf_ringbuf_output(&rule_requests, &news, sizeof(news), 0);
	return 0;
}

#endif
