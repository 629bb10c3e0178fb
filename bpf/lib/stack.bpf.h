/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * User stacks into a table of our own. Why not bpf_get_stackid(): it drops a stack on a hash
 * collision, and the kernel's walk starts at the frame pointer, so it loses the caller of a
 * function that has not yet built its frame. Why not bpf_get_stack(): its per-CPU buffer may be
 * overwritten by a task that preempts us (uprobe programs run preemptible) before we copy it.
 *
 * How to step from a return address to its caller's frame is a rule of the table `rules`, which
 * userspace fills out of .eh_frame when BPF meets the address for the first time. So code without
 * frame pointers is walked as well; only the milliseconds until the answer have cut stacks.
 */
#ifndef TIDEMARK_STACK_BPF_H
#define TIDEMARK_STACK_BPF_H

#include <linux/errno.h>
#include "thread.bpf.h"

/* Frames that walk_stride() takes at a time. */
#define WALK_STRIDE 8

/* Mixes a word into a 64-bit hash; the multiplier is 2^64 divided by the golden ratio. */
static __always_inline u64 mix(u64 hash, u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15UL;
	return hash ^ (hash >> 29);
}

/* Asks userspace once for the rule of a return address. */
static __noinline int request_rule(u64 pc, u32 owner)
{
	struct tm_rule_key key = {.pc = pc, .owner = owner};
	struct tm_rule pending = {.kind = TM_RULE_PENDING};
	int error = bpf_map_update_elem(&rules, &key, &pending, BPF_NOEXIST);

	if (error == -EEXIST)
		return 0;
	if (error || bpf_ringbuf_output(&rule_requests, &key, sizeof(key), 0)) {
		count_event(TM_COUNTER_rules_full, 0);
		if (!error)
			bpf_map_delete_elem(&rules, &key);
	}
	return 0;
}

/*
 * One step outwards. By the rule of `pc` where there is one, else along the frame pointer.
 * TM_STACK_DEPTH_LIMIT: there is a caller, the walk goes on. A step whose rule is yet to come is a
 * guess.
 */
static __always_inline u32 step(struct position *at, u32 owner, u32 *guessed)
{
	struct tm_rule_key key = {.pc = at->pc, .owner = owner};
	struct tm_rule *rule = bpf_map_lookup_elem(&rules, &key);
	u32 kind = rule ? rule->kind : TM_RULE_PENDING;
	s32 fp_offset = -16;
	bool saves_fp = true;
	u64 frame[2]; /* the saved frame pointer, the return address */
	u64 cfa;

	if (!rule)
		request_rule(at->pc, owner);
	if (kind == TM_RULE_PENDING)
		*guessed = 1;
	if (kind == TM_RULE_BOTTOM)
		return TM_STACK_BOTTOM;
	if (kind == TM_RULE_NONE)
		return TM_STACK_BROKEN;
	if (rule && (kind == TM_RULE_SP || kind == TM_RULE_FP)) {
		cfa = (kind == TM_RULE_SP ? at->sp : at->fp) + rule->cfa_offset;
		fp_offset = rule->fp_offset;
		saves_fp = rule->saves_fp;
	} else {
		/* Where unwind data is wanting, a frame pointer of 0 may as well be a number. */
		if (at->fp == 0)
			return TM_STACK_BROKEN;
		cfa = at->fp + 16;
	}
	/* Frames rise, so the walk ends. */
	if ((cfa & 7) || cfa <= at->sp || cfa - at->sp > TM_FRAME_SPAN_LIMIT)
		return TM_STACK_BROKEN;
	if (bpf_probe_read_user(frame, sizeof(frame), (void *)(cfa - sizeof(frame))))
		return TM_STACK_BROKEN;
	if (saves_fp && fp_offset != -16) {
		if (bpf_probe_read_user(&frame[0], sizeof(frame[0]), (void *)(cfa + fp_offset)))
			return TM_STACK_BROKEN;
	}
	if (frame[1] == 0)
		return TM_STACK_BOTTOM;
	at->pc = frame[1];
	at->sp = cfa;
	if (saves_fp)
		at->fp = frame[0];
	return TM_STACK_DEPTH_LIMIT;
}

/*
 * The next frames of the running thread's walk; 0 while there may be more. Global, and without
 * arguments (5.10 takes no pointers there): the verifier then goes through it once for each
 * program, not once for each frame.
 */
__weak __noinline int walk_stride(void)
{
	struct thread_state *thread = running_thread(false);
	struct position at;
	u64 hash;
	u32 owner, depth, guessed = 0, end = TM_STACK_DEPTH_LIMIT;

	if (!thread)
		return 1;
	at = thread->walk.at;
	hash = thread->walk.hash;
	owner = thread->walk.owner;
	depth = thread->stack.depth;
	for (u32 i = 0; i < WALK_STRIDE; i++) {
		end = step(&at, owner, &guessed);
		if (end != TM_STACK_DEPTH_LIMIT)
			break;
		/* Kept from clang, which would bound another register than the one it adds. */
		barrier_var(depth);
		if (depth >= TM_STACK_DEPTH)
			break;
		thread->stack.frames[depth] = at.pc;
		hash = mix(hash, at.pc);
		depth++;
	}
	thread->walk.at = at;
	thread->walk.hash = hash;
	thread->walk.guessed |= guessed;
	thread->stack.depth = depth;
	thread->stack.end = end;
	return end != TM_STACK_DEPTH_LIMIT;
}

/*
 * Walks outwards into the thread's `stack`, from `walk` on: the allocator's caller, which becomes
 * the innermost frame. Returns the stack's id, never 0.
 */
static __always_inline u64 walk_user_stack(struct thread_state *thread)
{
	u64 hash;

	thread->walk.hash = mix(1, thread->walk.at.pc);
	thread->walk.guessed = 0;
	thread->stack.frames[0] = thread->walk.at.pc;
	thread->stack.depth = 1;
	thread->stack.end = TM_STACK_DEPTH_LIMIT;
	for (u32 i = 0; i < TM_STACK_DEPTH; i += WALK_STRIDE) {
		if (walk_stride())
			break;
	}
	if (thread->walk.guessed && thread->stack.end == TM_STACK_BROKEN)
		thread->stack.end = TM_STACK_GUESSED;
	hash = mix(thread->walk.hash, thread->stack.end);
	return hash ? hash : 1;
}

/* Keeps `stack` under its id. Returns the id, or 0 if the table is full. */
static __always_inline u64 keep_stack(u64 id, const struct tm_stack *stack)
{
	int error = bpf_map_update_elem(&stacks, &id, stack, BPF_NOEXIST);

	return error == 0 || error == -EEXIST /* known already */ ? id : 0;
}

#endif
