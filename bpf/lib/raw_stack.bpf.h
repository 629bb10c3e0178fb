/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stacks whose walk had to guess, for userspace to walk again (struct tm_raw_stack).
 */
#ifndef TIDEMARK_RAW_STACK_BPF_H
#define TIDEMARK_RAW_STACK_BPF_H

#include "stack.bpf.h"
#include "stack_copy.bpf.h"

static __always_inline u64 hand_over_bytes(const struct position *from, u32 owner, const u32 room)
{
	struct tm_raw_stack *raw = bpf_ringbuf_reserve(&raw_stacks, TM_RAW_STACK_HEAD + room, 0);
	u64 id;

	if (!raw)
		return 0;
	__sync_fetch_and_add(&raw_stacks_left, -1);
	id = mix(mix(bpf_ktime_get_ns(), from->sp), bpf_get_current_pid_tgid()) | 1;
	raw->id = id;
	raw->pc = from->pc;
	raw->sp = from->sp;
	raw->fp = from->fp;
	raw->owner = owner;
	raw->size_bytes = copy_stack(raw->bytes, from->sp, room);
	bpf_ringbuf_submit(raw, 0);
	return id;
}

/*
 * Hands the stack as it lies in memory to userspace. Returns an id that no other stack has, or 0
 * where that can't be done. Where it is known to be short it takes little of the ring: until
 * userspace runs, a program that has just been met may hand over hundreds.
 */
static __noinline u64 hand_over_stack(const struct position *from, u32 owner)
{
	u64 above;

	if (!from || raw_stacks_left == 0 || (s32)raw_stacks_left < 0)
		return 0;
	above = stack_above(from->sp);
	if (above <= TM_RAW_STACK_SMALL)
		return hand_over_bytes(from, owner, TM_RAW_STACK_SMALL);
	if (above <= TM_RAW_STACK_MEDIUM)
		return hand_over_bytes(from, owner, TM_RAW_STACK_MEDIUM);
	if (above <= TM_RAW_STACK_LARGE)
		return hand_over_bytes(from, owner, TM_RAW_STACK_LARGE);
	return hand_over_bytes(from, owner, TM_RAW_STACK_BYTES);
}

#endif
