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
/* Rare steps in a stack that is walked to the full depth; with more of them it is cut before. */
#define WALK_RARE_STEPS 4

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

/* The last byte of the window that two words can begin at. */
#define WINDOW_LAST ((WALK_WINDOW_WORDS - 2) * sizeof(u64))

/*
 * Moves the window to what is wanted, up to `wanted_sp` where that takes it in. At the upper end of
 * a stack it can't be filled; from there on the walk reads what it needs and no more, since a
 * failed copy is dear. 0: it was moved. Global like walk_stride(), and for its reasons.
 */
__weak __noinline int move_window(void)
{
	struct thread_state *thread = running_thread(false);
	u64 offset;

	if (!thread || thread->walk.window_failed)
		return -EFAULT;
	offset = thread->walk.wanted - thread->walk.wanted_sp;
	if (offset > WINDOW_LAST || (offset & 7))
		offset = 0;
	thread->walk.window_start = thread->walk.wanted - offset;
	if (bpf_probe_read_user(thread->window, sizeof(thread->window),
				(void *)thread->walk.window_start)) {
		thread->walk.window_start = 0;
		thread->walk.window_failed = 1;
		return -EFAULT;
	}
	return 0;
}

/*
 * Two words of the user's stack, at or above `sp`: out of the window where they are in it, else the
 * window is moved, or they are read alone.
 */
static __always_inline long read_words(struct thread_state *thread, u64 sp, u64 address,
				       u64 words[2])
{
	u64 offset = address - thread->walk.window_start;

	if (!thread->walk.window_start || offset > WINDOW_LAST || (offset & 7)) {
		thread->walk.wanted = address;
		thread->walk.wanted_sp = sp;
		if (move_window())
			return bpf_probe_read_user(words, 2 * sizeof(u64), (void *)address);
		offset = address - thread->walk.window_start;
	}
	offset /= sizeof(u64);
	/* Kept from clang, which would bound another register than the one it adds. */
	barrier_var(offset);
	if (offset > WALK_WINDOW_WORDS - 2)
		return -EFAULT;
	words[0] = thread->window[offset];
	words[1] = thread->window[offset + 1];
	return 0;
}

/* What step() says besides enum tm_stack_end: the rule is one for rare_step(). */
#define WALK_RARE 100

static __always_inline bool is_rare(const struct tm_rule *rule)
{
	return rule->kind >= TM_RULE_DEREF_SP || rule->saved_fp > TM_FP_AT_CFA;
}

/*
 * One step outwards. By the rule of `pc` where there is one, else along the frame pointer.
 * TM_STACK_DEPTH_LIMIT: there is a caller, the walk goes on. A step whose rule is yet to come is a
 * guess.
 */
static __always_inline u32 step(struct thread_state *thread, struct position *at, u32 owner,
				u32 *guessed)
{
	struct tm_rule_key key = {.pc = at->pc, .owner = owner};
	struct tm_rule *rule = bpf_map_lookup_elem(&rules, &key);
	u32 kind = rule ? rule->kind : TM_RULE_PENDING;
	s32 fp_offset = -16;
	bool saves_fp = true;
	u64 saved[2];
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
	if (rule && is_rare(rule))
		return WALK_RARE;
	if (rule && (kind == TM_RULE_SP || kind == TM_RULE_FP)) {
		cfa = (kind == TM_RULE_SP ? at->sp : at->fp) + rule->cfa_offset;
		fp_offset = rule->fp_offset;
		saves_fp = rule->saved_fp;
	} else {
		/* Where unwind data is wanting, a frame pointer of 0 may as well be a number. */
		if (at->fp == 0)
			return TM_STACK_BROKEN;
		cfa = at->fp + 16;
	}
	/* Frames rise, so the walk ends. */
	if ((cfa & 7) || cfa <= at->sp || cfa - at->sp > TM_FRAME_SPAN_LIMIT)
		return TM_STACK_BROKEN;
	if (read_words(thread, at->sp, cfa - sizeof(frame), frame))
		return TM_STACK_BROKEN;
	if (saves_fp && fp_offset != -16) {
		if (read_words(thread, at->sp, cfa + fp_offset, saved))
			return TM_STACK_BROKEN;
		frame[0] = saved[0];
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
 * From a signal handler to what it interrupted. That address is not one behind a call as all others
 * are, so the next one is taken, for which rules and names are looked up at the byte before. The
 * handler may have a stack of its own, so frames need not rise here; the walk's depth has an end.
 */
static __always_inline u32 leave_signal_frame(struct position *at)
{
	enum { SP = (TM_SIGNAL_SP - TM_SIGNAL_FP) / 8, PC = (TM_SIGNAL_PC - TM_SIGNAL_FP) / 8 };
	u64 registers[PC + 1];

	if (bpf_probe_read_user(registers, sizeof(registers), (void *)(at->sp + TM_SIGNAL_FP)))
		return TM_STACK_BROKEN;
	at->pc = registers[PC] + 1;
	at->sp = registers[SP];
	at->fp = registers[0];
	return TM_STACK_DEPTH_LIMIT;
}

static __always_inline u32 step_by_rare_rule(const struct tm_rule *rule, struct position *at)
{
	bool from_sp = rule->kind == TM_RULE_SP || rule->kind == TM_RULE_DEREF_SP;
	u64 cfa = (from_sp ? at->sp : at->fp) + rule->cfa_offset;
	u64 fp = at->fp, caller;

	if (rule->kind == TM_RULE_SIGNAL)
		return leave_signal_frame(at);
	if (rule->kind >= TM_RULE_DEREF_SP) {
		if (bpf_probe_read_user(&cfa, sizeof(cfa), (void *)cfa))
			return TM_STACK_BROKEN;
		cfa += rule->cfa_added;
	}
	if ((cfa & 7) || cfa <= at->sp || cfa - at->sp > TM_FRAME_SPAN_LIMIT)
		return TM_STACK_BROKEN;
	if (bpf_probe_read_user(&caller, sizeof(caller), (void *)(cfa - sizeof(caller))))
		return TM_STACK_BROKEN;
	if (rule->saved_fp == TM_FP_LOST) {
		fp = 0;
	} else if (rule->saved_fp != TM_FP_SAME) {
		u64 from = rule->saved_fp == TM_FP_AT_FP ? at->fp : cfa;

		if (bpf_probe_read_user(&fp, sizeof(fp), (void *)(from + rule->fp_offset)))
			return TM_STACK_BROKEN;
	}
	if (caller == 0)
		return TM_STACK_BOTTOM;
	*at = (struct position){.pc = caller, .sp = cfa, .fp = fp};
	return TM_STACK_DEPTH_LIMIT;
}

/*
 * A step by a rule of the kinds that few frames have: apart, since the verifier goes through what
 * stands in step() over and over. 0: the walk goes on. Global like walk_stride(), and for its
 * reasons.
 */
__weak __noinline int rare_step(void)
{
	struct thread_state *thread = running_thread(false);
	struct tm_rule_key key = {};
	struct tm_rule *rule;
	struct position at;
	u32 depth, end;

	if (!thread)
		return 1;
	at = thread->walk.at;
	depth = thread->stack.depth;
	key.pc = at.pc;
	key.owner = thread->walk.owner;
	rule = bpf_map_lookup_elem(&rules, &key);
	/* Taken away meanwhile: other code is there now. */
	end = rule ? step_by_rare_rule(rule, &at) : TM_STACK_BROKEN;
	thread->stack.end = end;
	if (end != TM_STACK_DEPTH_LIMIT || depth >= TM_STACK_DEPTH)
		return 1;
	thread->stack.frames[depth] = at.pc;
	thread->stack.depth = depth + 1;
	thread->walk.hash = mix(thread->walk.hash, at.pc);
	thread->walk.at = at;
	return 0;
}

/*
 * The next frames of the running thread's walk; 0 while there may be more, WALK_RARE where a rare
 * step is next. Global, and without
 * arguments (5.10 takes no pointers there): the verifier then goes through it once for each
 * program, not once for each frame.
 */
__weak __noinline int walk_stride(void)
{
	struct thread_state *thread = running_thread(false);
	struct position at;
	u64 hash;
	u32 owner, depth, guessed = 0, full = 0, end = TM_STACK_DEPTH_LIMIT;

	if (!thread)
		return 1;
	at = thread->walk.at;
	hash = thread->walk.hash;
	owner = thread->walk.owner;
	depth = thread->stack.depth;
	for (u32 i = 0; i < WALK_STRIDE; i++) {
		end = step(thread, &at, owner, &guessed);
		if (end != TM_STACK_DEPTH_LIMIT)
			break;
		/* Kept from clang, which would bound another register than the one it adds. */
		barrier_var(depth);
		if (depth >= TM_STACK_DEPTH) {
			full = 1;
			break;
		}
		thread->stack.frames[depth] = at.pc;
		hash = mix(hash, at.pc);
		depth++;
	}
	thread->walk.at = at;
	thread->walk.hash = hash;
	thread->walk.guessed |= guessed;
	thread->stack.depth = depth;
	if (end == WALK_RARE)
		return WALK_RARE;
	thread->stack.end = end;
	return full || end != TM_STACK_DEPTH_LIMIT;
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
	thread->walk.window_start = 0;
	thread->walk.window_failed = 0;
	thread->stack.frames[0] = thread->walk.at.pc;
	thread->stack.depth = 1;
	thread->stack.end = TM_STACK_DEPTH_LIMIT;
	/* A rare step ends a stride early. */
	for (u32 i = 0; i < TM_STACK_DEPTH / WALK_STRIDE + 1 + WALK_RARE_STEPS; i++) {
		int stop = walk_stride();

		if (stop == WALK_RARE)
			stop = rare_step();
		if (stop)
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
