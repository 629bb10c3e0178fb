/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose event is this? The owner is the generation of the address space, so threads and CLONE_VM
 * children share it and an exec makes a new one.
 */
#ifndef TIDEMARK_FILTER_BPF_H
#define TIDEMARK_FILTER_BPF_H

#include <linux/errno.h>
#include "maps.bpf.h"

/* tidemark itself; its own allocations would follow each other for ever. */
const volatile __u32 self_tgid __weak = 0;

/*
 * A number that no other generation has. Kernels before 5.12 have no addition that returns the old
 * value, so two execs at the same time may read the same number: the insert decides whose it is.
 * 0, the number of none, where there is no room.
 */
static __always_inline u32 begin_generation(const struct tm_generation *born)
{
	u32 generation = 0;
	int error = -EEXIST;

	for (u32 tries = 0; tries < 16 && error == -EEXIST; tries++) {
		generation = next_generation;
		__sync_fetch_and_add(&next_generation, 1);
		error = bpf_map_update_elem(&generations, &generation, born, BPF_NOEXIST);
	}
	if (!error)
		return generation;
	count_event(TM_COUNTER_updates_refused, 0);
	return 0;
}

/* Selects the running process, of which nobody has heard yet. Of two threads that do, one wins. */
static __noinline int select_on_sight(u32 tgid)
{
	struct tm_generation born = {.tgid = tgid, .life = TM_LIFE_RUNNING};
	struct tm_selected fresh = {};

	fresh.generation = begin_generation(&born);
	if (fresh.generation && bpf_map_update_elem(&selected, &tgid, &fresh, BPF_NOEXIST))
		bpf_map_delete_elem(&generations, &fresh.generation);
	return 0;
}

static __noinline u32 owner_at_first_sight(u64 mm)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct tm_selected *chosen;
	u32 generation;

	if (tgid == self_tgid)
		return 0;
	chosen = bpf_map_lookup_elem(&selected, &tgid);
	if (!chosen && select_all) {
		select_on_sight(tgid);
		chosen = bpf_map_lookup_elem(&selected, &tgid);
	}
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
