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

#include "filter.bpf.h"
#include "raw_stack.bpf.h"
#include "stack.bpf.h"
#include "thread.bpf.h"

static __always_inline void add_allocation(struct tm_site *site, u64 size)
{
	__sync_fetch_and_add(&site->total_bytes, size);
	__sync_fetch_and_add(&site->total_count, 1);
}

/* Takes a block, whose record is out of the table, off its call site. */
static __always_inline void subtract_block(const struct tm_block *block)
{
	struct tm_site *site = bpf_map_lookup_elem(&sites, &block->site);

	if (!site)
		return;
	__sync_fetch_and_add(&site->freed_bytes, block->size_bytes);
	__sync_fetch_and_add(&site->freed_count, 1);
}

enum taking {
	NOT_THERE = 0,
	TAKEN = 1,
	TAKEN_BY_ANOTHER = 2, /* between our look and our delete */
};

/* Takes the record at `address` out of the table. The delete decides who of two takers has it. */
static __always_inline u32 take_block(u32 owner, u64 address, struct tm_block *taken)
{
	struct tm_block_key key = {.address = address, .owner = owner, .space = TM_SPACE_HEAP};
	struct tm_block *block = bpf_map_lookup_elem(&blocks, &key);
	int error;

	if (!block)
		return NOT_THERE;
	*taken = *block;
	error = bpf_map_delete_elem(&blocks, &key);
	if (error == 0)
		return TAKEN;
	if (error == -ENOENT)
		count_event(TM_COUNTER_racing_frees, 0);
	else
		count_event(TM_COUNTER_updates_refused, taken->size_bytes);
	return TAKEN_BY_ANOTHER;
}

/* Takes a block off that is not at this address any more, whatever became of it. */
static __noinline bool drop_block(u32 owner, u64 address, u32 counter)
{
	struct tm_block gone;

	if (take_block(owner, address, &gone) != TAKEN)
		return false;
	subtract_block(&gone);
	if (counter < TM_COUNTER_MAX)
		count_event(counter, gone.size_bytes);
	return true;
}

static __always_inline int insert_block(u32 owner, u64 address, const struct tm_block *block)
{
	struct tm_block_key key = {.address = address, .owner = owner, .space = TM_SPACE_HEAP};

	return bpf_map_update_elem(&blocks, &key, block, BPF_NOEXIST);
}

static __noinline int record_block(struct thread_state *thread, u64 address, u64 birth_ns)
{
	struct tm_site *site;
	struct tm_block block = {};
	int error;

	if (!thread)
		return 0;
	block.size_bytes = thread->size;
	block.birth_ns = birth_ns;
	block.site = thread->site;
	site = bpf_map_lookup_elem(&sites, &block.site);
	if (thread->site_lost || !site) {
		count_event(TM_COUNTER_sites_full, block.size_bytes);
		return 0;
	}
	error = insert_block(block.site.owner, address, &block);
	if (error == -EEXIST) {
		/* A block is live at an address that was just given out: its free was not seen. */
		drop_block(block.site.owner, address, TM_COUNTER_missed_frees);
		error = insert_block(block.site.owner, address, &block);
	}
	if (error) {
		count_event(error == -E2BIG ? TM_COUNTER_blocks_full : TM_COUNTER_updates_refused,
			    block.size_bytes);
		return 0;
	}
	add_allocation(site, block.size_bytes);
	thread->last_given = address;
	thread->last_given_size = block.size_bytes;
	/* Only now: what is not recorded at all is another loss. */
	if (thread->stack_lost)
		count_event(TM_COUNTER_stacks_full, block.size_bytes);
	return 0;
}

/* Puts the old block of a realloc that failed back: it was never freed. */
static __always_inline void restore_old_block(struct thread_state *thread)
{
	struct tm_block old = thread->old;

	if (!thread->have_old || insert_block(old.site.owner, thread->old_address, &old) == 0)
		return;
	subtract_block(&old);
	count_event(TM_COUNTER_restores_failed, old.size_bytes);
}

/* Two stack pointers that lie further apart are on two stacks: a signal handler's, a coroutine's.
 */
#define STACK_SPAN_LIMIT (1UL << 20)

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
	thread->have_old = 0;
	thread->old_address = 0;
	thread->site.owner = owner;
	thread->site.kind = TM_KIND_HEAP;
	thread->site.allocator = allocator;
	find_site(thread, raw_id ? raw_id : stack_id, raw_id != 0);
	return true;
}

/* The pending call was left without a return. */
static __always_inline void abandon_call(struct thread_state *thread)
{
	count_event(TM_COUNTER_abandoned_calls, thread->size);
	restore_old_block(thread);
}

union cookie {
	u64 raw;
	struct tm_cookie fields;
};

static __always_inline bool known_probe(struct tm_cookie cookie)
{
	if (!cookie.valid) {
		count_event(TM_COUNTER_unknown_probes, 0);
		return false;
	}
	if (gate_state != TM_GATE_LEARNING)
		count_hit(cookie.probe);
	return true;
}

/* Begins a call: the state of its thread, or NULL where it is not ours to follow (another owner, or
 * nested). */
static __noinline struct thread_state *begin_call(struct pt_regs *ctx, u64 raw_cookie, u64 size,
						  u32 shape)
{
	union cookie cookie = {.raw = raw_cookie};
	struct position start = {};
	struct thread_state *thread;
	u32 owner = current_owner();
	u64 sp, caller;

	if (!owner || gate_state == TM_GATE_DRAINING || !known_probe(cookie.fields))
		return NULL;
	thread = running_thread(true);
	if (!thread) {
		count_event(TM_COUNTER_threads_full, size);
		return NULL;
	}
	sp = entry_sp(ctx, cookie.fields.stack_words);
	caller = return_address(ctx, sp);
	if (thread->sp) {
		if (still_pending(thread, sp, cookie.fields.probe)) {
			count_inner_call(thread, sp, caller, size);
			return NULL;
		}
		abandon_call(thread);
	}
	start.pc = caller;
	start.sp = sp + 8 * CALL_PUSHES_RETURN_ADDRESS;
	start.fp = USER_FP(ctx);
	if (!find_call_site(thread, &start, owner, cookie.fields.allocator))
		return NULL;
	thread->sp = sp;
	thread->caller = caller;
	thread->size = size;
	thread->shape = shape;
	thread->probe = cookie.fields.probe;
	thread->bare = cookie.fields.bare;
	return thread;
}

static __always_inline int track_alloc(struct pt_regs *ctx, u64 cookie, u64 size)
{
	begin_call(ctx, cookie, size, SHAPE_RESULT);
	return 0;
}

static __always_inline int track_memptr_alloc(struct pt_regs *ctx, u64 cookie, u64 memptr, u64 size)
{
	struct thread_state *thread = begin_call(ctx, cookie, size, SHAPE_MEMPTR);

	if (thread)
		thread->memptr = memptr;
	return 0;
}

static __always_inline int track_realloc(struct pt_regs *ctx, u64 cookie, u64 address, u64 size,
					 u32 shape)
{
	struct thread_state *thread = begin_call(ctx, cookie, size, shape);
	struct tm_block old;

	if (!address || gate_state != TM_GATE_OPEN)
		return 0;
	if (!thread) {
		/* A call that can't be followed: begin_call() has counted it, its block may lie
		 * anywhere. */
		drop_block(current_owner(), address, TM_COUNTER_MAX);
		return 0;
	}
	thread->old_address = address;
	if (take_block(thread->site.owner, address, &old) == TAKEN) {
		thread->old = old;
		thread->have_old = 1;
	}
	return 0;
}

/* Frees what is at `address`; true if that was a block of ours, or another taker's by now. */
static __always_inline bool free_block(u32 owner, u64 address)
{
	struct tm_block block;
	u32 taking = take_block(owner, address, &block);

	if (taking == TAKEN)
		subtract_block(&block);
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

static __always_inline int track_free(u64 raw_cookie, u64 address)
{
	union cookie cookie = {.raw = raw_cookie};
	u32 owner = current_owner();

	if (!owner || !address || gate_state == TM_GATE_LEARNING)
		return 0;
	known_probe(cookie.fields);
	if (!free_block(owner, address))
		count_unmatched_free(address);
	return 0;
}

/* A free that may be made of another one of the same block, which is probed as well. */
static __always_inline int track_delete(u64 raw_cookie, u64 address)
{
	union cookie cookie = {.raw = raw_cookie};
	u32 owner = current_owner();
	struct thread_state *thread;

	if (!owner || !address || gate_state == TM_GATE_LEARNING)
		return 0;
	known_probe(cookie.fields);
	if (!free_block(owner, address))
		return count_unmatched_free(address);
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
		birth_ns = old.birth_ns;
	} else if (thread->old_address && gate_state == TM_GATE_OPEN) {
		count_event(TM_COUNTER_unmatched_frees, 0);
	}
	if (address)
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
