/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The records of live blocks and the sums of their call sites: what an allocation puts on, its free
 * takes off. Whoever deletes a record subtracts it, from a copy made before.
 */
#ifndef TIDEMARK_BLOCK_BPF_H
#define TIDEMARK_BLOCK_BPF_H

#include <linux/errno.h>
#include "sample.bpf.h"

static __always_inline void add_allocation(struct tm_site *site, const struct weight *weight)
{
	__sync_fetch_and_add(&site->total_bytes, weight->bytes);
	__sync_fetch_and_add(&site->total_count, weight->count);
}

/* Takes a block, whose record is out of the table, off its call site. */
static __always_inline void subtract_block(const struct tm_block *block)
{
	struct tm_site *site = bpf_map_lookup_elem(&sites, &block->site);
	struct weight weight = {};

	if (!site)
		return;
	weigh(block->size_bytes, block->interval_bytes, &weight);
	__sync_fetch_and_add(&site->freed_bytes, weight.bytes);
	__sync_fetch_and_add(&site->freed_count, weight.count);
}

/* A block is known to be gone. */
static __noinline int tell_death(u64 address, const struct tm_block *block, u32 kind)
{
	struct tm_death death = {.address = address, .kind = kind};

	if (!tells_deaths || !block)
		return 0;
	death.site = block->site;
	death.size_bytes = block->size_bytes;
	death.birth_ns = block->birth_ns;
	death.interval_bytes = block->interval_bytes;
	death.death_ns = bpf_ktime_get_ns();
	if (bpf_ringbuf_output(&deaths, &death, sizeof(death), 0))
		count_event(TM_COUNTER_deaths_untold, block->size_bytes);
	return 0;
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
	tell_death(address, &gone,
		   counter == TM_COUNTER_missed_frees ? TM_DEATH_REPLACED : TM_DEATH_FREED);
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
	struct weight weight = {};
	int error;

	if (!thread)
		return 0;
	block.size_bytes = thread->size;
	block.birth_ns = birth_ns;
	block.site = thread->site;
	if (sampling)
		block.interval_bytes = thread->interval;
	site = bpf_map_lookup_elem(&sites, &block.site);
	weigh(block.size_bytes, block.interval_bytes, &weight);
	if (thread->site_lost || !site) {
		count_event(TM_COUNTER_sites_full, weight.bytes);
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
			    weight.bytes);
		return 0;
	}
	add_allocation(site, &weight);
	thread->last_given = address;
	thread->last_given_size = block.size_bytes;
	/* Only now: what is not recorded at all is another loss. */
	if (thread->stack_lost)
		count_event(TM_COUNTER_stacks_full, weight.bytes);
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

#endif
