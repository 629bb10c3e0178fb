/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The birth and the free of pages, however they are told.
 */
#ifndef TIDEMARK_PAGE_TRACK_BPF_H
#define TIDEMARK_PAGE_TRACK_BPF_H

#include "kernel_track.bpf.h"
#include "pages.bpf.h"

const volatile bool keep_movable __weak = false;

#define GFP_MOVABLE 0x08U    /* include/linux/gfp_types.h, the same bit on every kernel */
#define GFP_COMP    0x40000U /* a compound page is freed as a whole */

/* A power of two, so that a mask tells the verifier that an order is in range. */
#define SPLITTABLE_ORDERS 16

/*
 * Live blocks by order that may be split and freed in parts. Kept so that a free of a page that is
 * not known, which most are, looks for a larger block only where there is one.
 */
volatile __u64 splittable[SPLITTABLE_ORDERS] __weak = {};

static __always_inline u64 whole_pages(u64 bytes)
{
	return (bytes + (1UL << PAGE_BYTES_SHIFT) - 1) >> PAGE_BYTES_SHIFT << PAGE_BYTES_SHIFT;
}

static __always_inline struct inside_vmalloc *vmalloc_of_thread(void)
{
	u64 thread = bpf_get_current_pid_tgid();

	return vmalloc_is_traced ? bpf_map_lookup_elem(&inside_vmalloc, &thread) : NULL;
}

/* One that is told while its thread is inside vmalloc; how many were is kept. */
static __always_inline bool take_for_vmalloc(u32 pages)
{
	struct inside_vmalloc *inside = vmalloc_of_thread();

	if (inside)
		inside->told += pages;
	return inside;
}

static __always_inline void page_born(void *ctx, u64 page, u32 order, u32 gfp, u64 call_site)
{
	struct tm_kernel_place place = {
		.kind = TM_KERNEL_PAGE, .gfp = gfp, .order = order, .call_site = call_site};
	struct new_block born = {.address = page};

	if (!takes_allocations || order > TM_MAX_ORDER)
		return;
	born.pages = 1U << order;
	born.size_bytes = (u64)born.pages << PAGE_BYTES_SHIFT;
	born.usable_bytes = born.size_bytes;
	if (!page) {
		count_event(TM_KERNEL_failed_allocations, 0);
		return;
	}
	count_event(TM_KERNEL_pages_allocated, born.pages);
	if (gfp & GFP_MOVABLE && !keep_movable) {
		count_event(TM_KERNEL_movable_pages, born.size_bytes);
		return;
	}
	if (take_for_vmalloc(born.pages)) {
		count_event(TM_KERNEL_pages_of_vmalloc, born.size_bytes);
		return;
	}
	track_alloc(ctx, &page_blocks, &place, &born);
	if (order && !(gfp & GFP_COMP))
		__sync_fetch_and_add(&splittable[order & (SPLITTABLE_ORDERS - 1)], 1);
}

/* In loops. What the tracepoint has told meanwhile is there already. */
__weak __noinline int insert_untold_page(u64 page, u64 site_id, u32 order)
{
	struct new_block born = {.address = page, .pages = 1U << (order & 0xf)};
	struct tm_kernel_site *site = bpf_map_lookup_elem(&sites, &site_id);

	if (!site || !page || bpf_map_lookup_elem(&page_blocks, &page))
		return 0;
	born.size_bytes = (u64)born.pages << PAGE_BYTES_SHIFT;
	count_event(TM_KERNEL_pages_allocated, born.pages);
	insert_block(&page_blocks, site, site_id, order, &born);
	if (order)
		__sync_fetch_and_add(&splittable[order & (SPLITTABLE_ORDERS - 1)], 1);
	return 0;
}

static __always_inline void forget_splittable(const struct tm_kernel_block *block)
{
	volatile __u64 *live = &splittable[block->order & (SPLITTABLE_ORDERS - 1)];
	struct tm_kernel_site *site;

	if (!block->order || !*live)
		return;
	site = bpf_map_lookup_elem(&sites, &block->site_id);
	if (site && !(site->place.gfp & GFP_COMP))
		__sync_fetch_and_add(live, -1UL);
}

/*
 * A part of a block that was split: what is left of the block stays. The last part takes it away.
 * Two CPUs that free parts at the same time may both see a page left; the block is then replaced
 * when its address is given out again.
 */
static __always_inline bool free_part(u64 head, u32 pages)
{
	struct tm_kernel_block *block = bpf_map_lookup_elem(&page_blocks, &head);

	if (!block)
		return false;
	if (block->remaining_pages <= pages) {
		forget_splittable(block);
		track_free(&page_blocks, head);
		return true;
	}
	__sync_fetch_and_add(&block->remaining_pages, -pages);
	settle(block, (u64)pages << PAGE_BYTES_SHIFT, 0);
	return true;
}

static __always_inline void page_freed(u64 page, u32 order)
{
	if (!is_counting || order > TM_MAX_ORDER)
		return;
	count_event(TM_KERNEL_pages_freed, 1U << order);
	if (free_part(page, 1U << order))
		return;
	for (u32 larger = 1; larger <= TM_MAX_ORDER; larger++) {
		u64 head = page & ~((1UL << (larger + PAGE_STRUCT_SHIFT)) - 1);

		if (larger <= order || !splittable[larger] || head == page)
			continue;
		if (free_part(head, 1U << order))
			return;
	}
}

__weak __noinline int free_page_of_many(u64 page, u32 order)
{
	page_freed(page, order);
	return 0;
}

#endif
