/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What no tracepoint tells, however it is hooked: a call that has a result is noted at its entry,
 * under its thread and the place of its frame, and counted at its return.
 */
#ifndef TIDEMARK_KERNEL_CALLS_BPF_H
#define TIDEMARK_KERNEL_CALLS_BPF_H

#include "page_track.bpf.h"
#include "slab.bpf.h"

/* kmem_cache_alloc_bulk() returns a count, and on newest kernels whether it could. */
const volatile bool bulk_returns_bool __weak = false;
/* Where the page allocator's bulk call has the array: behind a list, on some kernels. */
const volatile bool pages_bulk_has_list __weak = false;

/* Objects and pages of one call that are looked at. */
#define BULK_LIMIT 512
/* Slots of an array of pages that may be filled already, in a mask. */
#define FILLED_LIMIT 128

/* The frame tells a call from one that an interrupt makes in the middle of it. */
struct call_key {
	u64 frame;
	u64 thread;
};

struct call {
	u64 caller;
	u64 first; /* the argument that matters most: a cache, an object, a size */
	u64 count;
	u64 array;
	u64 filled[FILLED_LIMIT / 64];
	u32 gfp;
	u32 told; /* pages of this thread's vmalloc() that the tracepoint had told */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct call_key);
	__type(value, struct call);
} calls __weak SEC(".maps");

static __always_inline void note_call(u64 frame, const struct call *call)
{
	struct call_key key = {.frame = frame, .thread = bpf_get_current_pid_tgid()};

	if (bpf_map_update_elem(&calls, &key, call, BPF_ANY))
		count_event(TM_KERNEL_calls_full, 0);
}

static __always_inline bool take_call(u64 frame, struct call *call)
{
	struct call_key key = {.frame = frame, .thread = bpf_get_current_pid_tgid()};
	struct call *found = bpf_map_lookup_elem(&calls, &key);

	if (!found)
		return false;
	*call = *found;
	bpf_map_delete_elem(&calls, &key);
	return true;
}

static __always_inline u64 word_at(u64 array, u32 index)
{
	u64 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (void *)(array + index * sizeof(u64)));
	return word;
}

/* caller, cache, count, array */
static __always_inline void objects_born(void *ctx, const struct call *call)
{
	struct tm_kernel_place place = {
		.kind = TM_KERNEL_SLAB, .call_site = call->caller, .cache = call->first};
	struct kmem_cache *cache = (void *)call->first;
	u64 site_id, size, usable;

	size = BPF_CORE_READ(cache, object_size);
	usable = BPF_CORE_READ(cache, size);
	if (!find_site(&place, stack_for(ctx, &place), &site_id)) {
		count_event(TM_KERNEL_sites_full, call->count * size);
		return;
	}
	for (u32 i = 0; i < BULK_LIMIT; i++) {
		if (i >= call->count)
			return;
		insert_one_of_many(word_at(call->array, i), site_id, size, usable);
	}
	count_event(TM_KERNEL_bulk_cut, 0);
}

static __always_inline bool bulk_succeeded(u64 result)
{
	return bulk_returns_bool ? (u8)result : (u32)result;
}

static __always_inline void objects_freed(u64 count, u64 array)
{
	for (u32 i = 0; i < BULK_LIMIT; i++) {
		if (i >= count)
			return;
		free_one_of_many(word_at(array, i));
	}
	count_event(TM_KERNEL_bulk_cut, 0);
}

/* An object at a call that tells no more than its size. */
static __always_inline void object_born(void *ctx, const struct call *call, u64 address)
{
	struct tm_kernel_place place = {.kind = TM_KERNEL_SLAB, .call_site = call->caller};
	struct new_block born = {.address = address, .size_bytes = call->count};
	struct kmem_cache *cache;

	if (address < LOWEST_ADDRESS) {
		count_event(TM_KERNEL_failed_allocations, 0);
		return;
	}
	place.cache = call->first;
	if (!place.cache && call->count <= LARGEST_SLAB_OBJECT)
		place.cache = cache_of_object(address);
	if (!passes_filter(place.cache))
		return;
	cache = (void *)place.cache;
	if (cache) {
		born.usable_bytes = BPF_CORE_READ(cache, size);
		if (!born.size_bytes)
			born.size_bytes = BPF_CORE_READ(cache, object_size);
	} else {
		take_off_pages(address);
		born.usable_bytes = whole_pages(born.size_bytes);
		born.may_repeat = true;
	}
	track_alloc(ctx, &slab_blocks, &place, &born);
}

static __always_inline void vmalloc_begins(u64 frame, const struct call *call)
{
	struct inside_vmalloc *inside = vmalloc_of_thread(), fresh = {};
	u64 thread = bpf_get_current_pid_tgid();

	note_call(frame, call);
	if (inside)
		inside->depth++;
	else if (bpf_map_update_elem(&inside_vmalloc, &thread, &fresh, BPF_ANY))
		count_event(TM_KERNEL_calls_full, 0);
}

static __always_inline void vmalloc_ended(void *ctx, const struct call *call, u64 address)
{
	struct tm_kernel_place place = {.kind = TM_KERNEL_VMALLOC, .call_site = call->caller};
	struct new_block born = {.address = address, .size_bytes = call->first};
	struct inside_vmalloc *inside = vmalloc_of_thread();
	u64 thread = bpf_get_current_pid_tgid();

	if (inside && inside->depth)
		inside->depth--;
	else
		bpf_map_delete_elem(&inside_vmalloc, &thread);
	if (!address) {
		count_event(TM_KERNEL_failed_allocations, 0);
		return;
	}
	born.usable_bytes = whole_pages(call->first);
	track_alloc(ctx, &vmalloc_blocks, &place, &born);
}

/* Areas of vmap and ioremap end here too, and are none of ours. */
static __always_inline void area_freed(u64 address)
{
	if (is_counting && bpf_map_lookup_elem(&vmalloc_blocks, &address))
		track_free(&vmalloc_blocks, address);
}

/* Slots that are filled before the call are left as they are. */
static __always_inline void note_filled(struct call *call)
{
	struct inside_vmalloc *inside = vmalloc_of_thread();

	for (u32 i = 0; i < FILLED_LIMIT; i++) {
		if (i >= call->count)
			break;
		if (word_at(call->array, i))
			call->filled[i / 64 & 1] |= 1UL << (i & 63);
	}
	call->told = inside ? inside->told : 0;
}

__weak __noinline int count_new_slots(u64 filled_low, u64 filled_high, u64 count)
{
	u32 slots = 0;

	for (u32 i = 0; i < FILLED_LIMIT; i++) {
		if (i >= count)
			break;
		slots += !((i < 64 ? filled_low : filled_high) >> (i & 63) & 1);
	}
	return count > FILLED_LIMIT ? slots + count - FILLED_LIMIT : slots;
}

/* Pages of nobody's tracepoint; `count`: slots that are filled now. */
static __always_inline void pages_born(void *ctx, const struct call *call, u64 count)
{
	struct tm_kernel_place place = {
		.kind = TM_KERNEL_PAGE, .call_site = call->caller, .gfp = call->gfp};
	u32 slots = count_new_slots(call->filled[0], call->filled[1], count);
	struct inside_vmalloc *inside = vmalloc_of_thread();
	u64 site_id;

	if (!call->array) {
		count_event(TM_KERNEL_bulk_cut, 0);
		return;
	}
	if (inside || (call->gfp & GFP_MOVABLE && !keep_movable)) {
		slots -= inside ? inside->told - call->told : 0;
		count_event(TM_KERNEL_pages_allocated, slots);
		return;
	}
	if (!find_site(&place, stack_for(ctx, &place), &site_id)) {
		count_event(TM_KERNEL_sites_full, (u64)slots << PAGE_BYTES_SHIFT);
		return;
	}
	for (u32 i = 0; i < BULK_LIMIT; i++) {
		if (i >= count)
			return;
		if (i >= FILLED_LIMIT || !(call->filled[i / 64 & 1] >> (i & 63) & 1))
			insert_untold_page(word_at(call->array, i), site_id, 0);
	}
	count_event(TM_KERNEL_bulk_cut, 0);
}

/* The largest block at this page frame that is aligned and not larger than what is left. */
__weak __noinline int order_at(u64 pfn, u64 end)
{
	u32 order = 0, fits = 1;

	for (u32 i = 1; i <= TM_MAX_ORDER; i++) {
		fits &= !(pfn & ((1UL << i) - 1)) & (pfn + (1UL << i) <= end);
		order += fits;
	}
	return order;
}

/* first, end: page frames. */
static __always_inline void range_born(void *ctx, const struct call *call, u64 pfn, u64 end)
{
	struct tm_kernel_place place = {
		.kind = TM_KERNEL_PAGE, .call_site = call->caller, .gfp = call->gfp};
	u64 first = page_of_frame(0), site_id;

	if (!first || !find_site(&place, stack_for(ctx, &place), &site_id)) {
		count_event(TM_KERNEL_sites_full, (end - pfn) << PAGE_BYTES_SHIFT);
		return;
	}
	for (u32 i = 0; i < BULK_LIMIT; i++) {
		u32 order;

		if (pfn >= end)
			return;
		order = order_at(pfn, end) & 0xf;
		insert_untold_page(first + (pfn << PAGE_STRUCT_SHIFT), site_id, order);
		pfn += 1UL << order;
	}
	count_event(TM_KERNEL_bulk_cut, 0);
}

#endif
