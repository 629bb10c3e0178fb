/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stacks whose walk had to guess, for userspace to walk again (struct tm_raw_stack).
 */
#ifndef TIDEMARK_RAW_STACK_BPF_H
#define TIDEMARK_RAW_STACK_BPF_H

#include "stack.bpf.h"

/*
 * Hands the stack as it lies in memory to userspace. Returns an id that no other stack has, or 0
 * where that can't be done.
 */
static __noinline u64 hand_over_stack(const struct position *from, u32 owner)
{
	struct tm_raw_stack *raw;
	u32 filled = 0;
	u64 id;

	if (!from || raw_stacks_left == 0 || (s32)raw_stacks_left < 0)
		return 0;
	raw = bpf_ringbuf_reserve(&raw_stacks, sizeof(*raw), 0);
	if (!raw)
		return 0;
	__sync_fetch_and_add(&raw_stacks_left, -1);
	/* The end of a stack is not known: as much as can be read, to 128 bytes. */
	for (u32 part = TM_RAW_STACK_FIRST_PART; part >= TM_RAW_STACK_LAST_PART; part /= 2) {
		if (filled > TM_RAW_STACK_BYTES - part)
			break;
		if (bpf_probe_read_user(raw->bytes + filled, part, (void *)(from->sp + filled)) ==
		    0)
			filled += part;
	}
	id = mix(mix(bpf_ktime_get_ns(), from->sp), bpf_get_current_pid_tgid()) | 1;
	raw->id = id;
	raw->pc = from->pc;
	raw->sp = from->sp;
	raw->fp = from->fp;
	raw->owner = owner;
	raw->size_bytes = filled;
	bpf_ringbuf_submit(raw, 0);
	return id;
}

#endif
