/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The bookkeeping of kernel memory: blocks by address, totals by place and stack.
 *
 * An allocation is told behind the allocator and a free before it, so for one address the delete
 * always comes before the next insert, on every CPU. An insert that finds the address taken proves
 * that a free was missed: the old block is taken off and counted.
 *
 * Programs here run in any context. An interrupt may run another of them on the same CPU, so
 * nothing is kept per CPU but counters. raw_tp programs of Linux 5.10 may even interrupt
 * themselves: that does no harm, as the map code holds its locks with interrupts off.
 */
#ifndef TIDEMARK_KERNEL_TRACK_BPF_H
#define TIDEMARK_KERNEL_TRACK_BPF_H

#include "kernel_maps.bpf.h"

#define BPF_EEXIST 17
#define BPF_E2BIG  7

static __always_inline u64 mix(u64 hash, u64 value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15UL;
	return hash ^ hash >> 29;
}

static __always_inline u64 site_id_of(const struct tm_kernel_place *place, u64 stack_id)
{
	u64 hash = mix(0x27d4eb2f165667c5UL, place->call_site);

	hash = mix(hash, place->cache);
	hash = mix(hash, (u64)place->gfp << 32 | (u32)place->kind << 16 | place->order);
	return mix(hash, stack_id);
}

/* A function of its own: its record would not fit on the stack beside the others. */
static __noinline int add_cache_record(u64 cache)
{
	struct kmem_cache *s = (void *)cache;
	struct tm_kernel_cache fresh = {};

	fresh.object_bytes = BPF_CORE_READ(s, object_size);
	fresh.size_bytes = BPF_CORE_READ(s, size);
	bpf_probe_read_kernel_str(fresh.name, sizeof(fresh.name), BPF_CORE_READ(s, name));
	if (wanted_names) {
		u64 number = tm_name_number(fresh.name);

		for (u32 i = 0; i < TM_MAX_WANTED; i++)
			fresh.wanted |= number == wanted_name[i];
	}
	/* Two CPUs may race here, with one and the same record. */
	if (bpf_map_update_elem(&caches, &cache, &fresh, BPF_ANY))
		count_event(TM_KERNEL_caches_full, 0);
	return 0;
}

/* Only what is not known yet is read; a cache that was destroyed keeps its name. */
static __always_inline struct tm_kernel_cache *cache_record(u64 cache)
{
	struct tm_kernel_cache *known = bpf_map_lookup_elem(&caches, &cache);

	if (known || !cache)
		return known;
	add_cache_record(cache);
	return bpf_map_lookup_elem(&caches, &cache);
}

static __noinline int is_wanted_cache(u64 cache)
{
	struct tm_kernel_cache *record = cache_record(cache);

	return record && record->wanted;
}

/* --cache, first thing. */
static __always_inline bool passes_filter(u64 cache)
{
	return !wanted_names || is_wanted_cache(cache);
}

/* As above. */
static __noinline u64 keep_stack(void *ctx)
{
	struct tm_kernel_stack stack = {};
	long bytes = bpf_get_stack(ctx, stack.frames, sizeof(stack.frames), 0);
	u64 id = 0x51afd7ed558ccdUL;
	int error;

	if (bytes <= 0) {
		count_event(TM_KERNEL_stacks_unreadable, 0);
		return 0;
	}
	stack.depth = bytes / sizeof(u64);
	for (u32 i = 0; i < TM_KERNEL_FRAMES; i++)
		id = mix(id, stack.frames[i]);
	if (bpf_map_lookup_elem(&stacks, &id))
		return id;
	error = bpf_map_update_elem(&stacks, &id, &stack, BPF_NOEXIST);
	if (!error || error == -BPF_EEXIST)
		return id;
	count_event(error == -BPF_E2BIG ? TM_KERNEL_stacks_full : TM_KERNEL_updates_refused, 0);
	return 0;
}

static __always_inline u64 stack_for(void *ctx, const struct tm_kernel_place *place)
{
	if (stacks_wanted == TM_STACKS_NEVER)
		return 0;
	if (stacks_wanted == TM_STACKS_GROWING &&
	    (!growing_places || !bpf_map_lookup_elem(&growing, place)))
		return 0;
	return keep_stack(ctx);
}

static __always_inline struct tm_kernel_site *find_site(const struct tm_kernel_place *place,
							u64 stack_id, u64 *id)
{
	struct tm_kernel_site *site, fresh = {};
	int error;

	*id = site_id_of(place, stack_id);
	site = bpf_map_lookup_elem(&sites, id);
	if (site)
		return site;
	fresh.place = *place;
	fresh.stack_id = stack_id;
	if (place->cache)
		cache_record(place->cache);
	error = bpf_map_update_elem(&sites, id, &fresh, BPF_NOEXIST);
	if (error && error != -BPF_EEXIST)
		return NULL;
	return bpf_map_lookup_elem(&sites, id);
}

static __always_inline void settle(const struct tm_kernel_block *block, u64 bytes, u64 count)
{
	struct tm_kernel_site *site = bpf_map_lookup_elem(&sites, &block->site_id);

	if (!site)
		return;
	__sync_fetch_and_add(&site->freed_bytes, bytes);
	/* As in count_event(). */
	barrier_var(count);
	if (count)
		__sync_fetch_and_add(&site->freed_count, count);
}

/* The bytes of a block that are still out: all, but for pages that were split and freed in part. */
static __always_inline u64 bytes_left(const struct tm_kernel_block *block)
{
	if (!block->remaining_pages)
		return block->size_bytes;
	return (u64)block->remaining_pages << 12;
}

/*
 * The block that stood at this address was freed without an event. Or the same allocation is told
 * twice: of a large kmalloc the kernel says first the inner, then the outer call, and the outer one
 * is the one that people know.
 */
static __always_inline void displace(void *blocks, u64 address, const struct tm_kernel_block *by,
				     bool may_repeat)
{
	struct tm_kernel_block *found = bpf_map_lookup_elem(blocks, &address);
	struct tm_kernel_block old;
	struct tm_kernel_site *site;

	if (!found)
		return;
	old = *found;
	site = bpf_map_lookup_elem(&sites, &old.site_id);
	if (!site)
		return;
	if (may_repeat && old.tid == by->tid && old.size_bytes == by->size_bytes) {
		__sync_fetch_and_add(&site->total_bytes, -old.size_bytes);
		__sync_fetch_and_add(&site->total_count, -1UL);
		count_event(TM_KERNEL_double_events, old.size_bytes);
		return;
	}
	__sync_fetch_and_add(&site->freed_bytes, bytes_left(&old));
	__sync_fetch_and_add(&site->freed_count, 1);
	__sync_fetch_and_add(&site->missed_frees, 1);
	count_event(TM_KERNEL_missed_frees, bytes_left(&old));
}

struct new_block {
	u64 address;
	u64 size_bytes;
	u64 usable_bytes;
	u32 pages;	 /* of a page block */
	bool may_repeat; /* the kernel may tell it twice */
};

static __always_inline void insert_block(void *blocks, struct tm_kernel_site *site, u64 site_id,
					 u32 order, const struct new_block *born)
{
	struct tm_kernel_block block = {.site_id = site_id, .order = order};
	int error;

	block.birth_ns = bpf_ktime_get_ns();
	block.size_bytes = born->size_bytes;
	if (born->usable_bytes > born->size_bytes)
		block.spare_bytes = born->usable_bytes - born->size_bytes;
	block.remaining_pages = born->pages;
	block.tid = bpf_get_current_pid_tgid();
	error = bpf_map_update_elem(blocks, &born->address, &block, BPF_NOEXIST);
	if (error == -BPF_EEXIST) {
		displace(blocks, born->address, &block, born->may_repeat);
		error = bpf_map_update_elem(blocks, &born->address, &block, BPF_ANY);
	}
	if (error) {
		count_event(error == -BPF_E2BIG ? TM_KERNEL_blocks_full : TM_KERNEL_updates_refused,
			    born->size_bytes);
		return;
	}
	__sync_fetch_and_add(&site->total_bytes, born->size_bytes);
	__sync_fetch_and_add(&site->total_count, 1);
}

static __always_inline void track_alloc(void *ctx, void *blocks,
					const struct tm_kernel_place *place,
					const struct new_block *born)
{
	struct tm_kernel_site *site;
	u64 site_id;

	site = find_site(place, stack_for(ctx, place), &site_id);
	if (site)
		insert_block(blocks, site, site_id, place->order, born);
	else
		count_event(TM_KERNEL_sites_full, born->size_bytes);
}

static __always_inline void track_free(void *blocks, u64 address)
{
	struct tm_kernel_block *found = bpf_map_lookup_elem(blocks, &address);
	struct tm_kernel_block block;
	int error;

	if (!found) {
		count_event(TM_KERNEL_unmatched_frees, 0);
		return;
	}
	block = *found;
	error = bpf_map_delete_elem(blocks, &address);
	if (error) {
		count_event(TM_KERNEL_racing_frees, 0);
		return;
	}
	settle(&block, bytes_left(&block), 1);
}

#endif
