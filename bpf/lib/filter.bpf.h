/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose event is this? The owner is the generation of the address space, so threads and CLONE_VM
 * children share it and an exec makes a new one.
 */
#ifndef TIDEMARK_FILTER_BPF_H
#define TIDEMARK_FILTER_BPF_H

#include "maps.bpf.h"

/* tidemark itself; its own allocations would follow each other for ever. */
const volatile __u32 self_tgid __weak = 0;

static __noinline u32 owner_at_first_sight(u64 mm)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct tm_selected *chosen;
	u32 generation;

	if (tgid == self_tgid)
		return 0;
	chosen = bpf_map_lookup_elem(&selected, &tgid);
	if (!chosen)
		return 0;
	generation = chosen->generation;
	chosen->mm = mm;
	/* Threads may race here, with one and the same value. */
	if (bpf_map_update_elem(&owners, &mm, &generation, BPF_ANY)) {
		count_event(TM_COUNTER_updates_refused, 0);
		return 0;
	}
	return generation;
}

/* The owner of the running task's memory, 0 where it is none of ours or the gate is closed. */
static __always_inline u32 current_owner(void)
{
	u64 mm = current_mm();
	u32 *owner;

	if (gate_state == TM_GATE_CLOSED || !mm)
		return 0;
	owner = bpf_map_lookup_elem(&owners, &mm);
	return owner ? *owner : owner_at_first_sight(mm);
}

#endif
