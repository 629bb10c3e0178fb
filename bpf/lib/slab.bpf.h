/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The free of a slab object, however it is told.
 */
#ifndef TIDEMARK_SLAB_BPF_H
#define TIDEMARK_SLAB_BPF_H

#include "kernel_track.bpf.h"
#include "pages.bpf.h"

/* What kmalloc(0) returns, and other small numbers that are no address: ZERO_SIZE_PTR. */
#define LOWEST_ADDRESS 4096UL

/* Beyond two pages kmalloc takes pages of its own: KMALLOC_MAX_CACHE_SIZE of SLUB. */
#define LARGEST_SLAB_OBJECT (2 << PAGE_BYTES_SHIFT)

/* A large kmalloc is memory of the page allocator, which has told it already. */
static __always_inline void take_off_pages(u64 address)
{
	u64 page = page_of(address);

	if (page && bpf_map_lookup_elem(&page_blocks, &page))
		track_free(&page_blocks, page);
}

/* An object that is older than the trace: counted with its cache, for the sums. */
static __noinline int old_object(u64 address)
{
	u64 cache = cache_of_object(address);
	struct tm_kernel_cache *record;

	if (wanted_names && !is_wanted_cache(cache))
		return 0;
	count_event(TM_KERNEL_unmatched_frees, 0);
	record = cache_record(cache);
	if (record)
		__sync_fetch_and_add(&record->old_frees, 1);
	return 0;
}

static __always_inline void slab_free(u64 address)
{
	if (!is_counting || address < LOWEST_ADDRESS)
		return;
	if (bpf_map_lookup_elem(&slab_blocks, &address))
		track_free(&slab_blocks, address);
	else if (takes_allocations) /* else it may be younger than all that count */
		old_object(address);
}

/*
 * The same, and the birth of an object at a call site that is known, for loops: a global function
 * is verified once and not in each round.
 */
__weak __noinline int free_one_of_many(u64 address)
{
	slab_free(address);
	return 0;
}

__weak __noinline int insert_one_of_many(u64 address, u64 site_id, u64 size, u64 usable)
{
	struct new_block born = {.address = address, .size_bytes = size, .usable_bytes = usable};
	struct tm_kernel_site *site = bpf_map_lookup_elem(&sites, &site_id);

	if (site && address)
		insert_block(&slab_blocks, site, site_id, 0, &born);
	return 0;
}

#endif
