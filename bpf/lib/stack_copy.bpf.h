/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The user's stack as it lies in memory.
 */
#ifndef TIDEMARK_STACK_COPY_BPF_H
#define TIDEMARK_STACK_COPY_BPF_H

#include "compat.bpf.h"
#include "../abi/heap.h"

/*
 * From `sp` on into `bytes`, which has room for `room`, one of the sizes TM_RAW_STACK_*: as much as
 * can be read, to 128 bytes, since where a stack ends is not known. How much it was.
 */
static __always_inline u32 copy_stack(u8 *bytes, u64 sp, const u32 room)
{
	u32 filled = 0;

	for (u32 part = (room + TM_RAW_STACK_LAST_PART) / 2; part >= TM_RAW_STACK_LAST_PART;
	     part /= 2) {
		if (filled > room - part)
			break;
		if (!bpf_probe_read_user(bytes + filled, part, (void *)(sp + filled)))
			filled += part;
	}
	return filled;
}

/*
 * How much stack the running thread has above `sp`, where that is known: the main thread's ends at
 * the program's arguments. Of others, and on other stacks, a large number.
 */
static __always_inline u64 stack_above(u64 sp)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u64 thread = bpf_get_current_pid_tgid();

	if ((u32)thread != thread >> 32)
		return ~0UL;
	return BPF_CORE_READ(task, mm, start_stack) - sp;
}

#endif
