// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages, by the tracepoints of the page allocator, and what became of them.
 *
 * mm_page_free_batched repeats what mm_page_free has told, and mm_page_pcpu_drain moves pages that
 * are free already: neither is attached.
 */
#include "lib/kernel_track.bpf.h"
#include "lib/pages.bpf.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool keep_movable = false;

#define GFP_MOVABLE 0x08U    /* include/linux/gfp_types.h, the same bit on every kernel */
#define GFP_COMP    0x40000U /* a compound page is freed as a whole */

/* A power of two, so that a mask tells the verifier that an order is in range. */
#define SPLITTABLE_ORDERS 16

/*
 * Live blocks by order that may be split and freed in parts. Kept so that a free of a page that is
 * not known, which most are, looks for a larger block only where there is one.
 */
volatile __u64 splittable[SPLITTABLE_ORDERS] = {};

static __always_inline bool is_inside_vmalloc(void)
{
	u64 thread = bpf_get_current_pid_tgid();

	return vmalloc_is_traced && bpf_map_lookup_elem(&inside_vmalloc, &thread);
}

/* page, order, gfp_flags, migratetype */
SEC("?raw_tp/mm_page_alloc")
int on_page_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	u64 page = ctx->args[0];
	u32 order = ctx->args[1], gfp = ctx->args[2];
	struct tm_kernel_place place = {.kind = TM_KERNEL_PAGE, .gfp = gfp, .order = order};
	struct new_block born = {.address = page};

	if (!takes_allocations || order > TM_MAX_ORDER)
		return 0;
	born.pages = 1U << order;
	born.size_bytes = (u64)born.pages << PAGE_BYTES_SHIFT;
	born.usable_bytes = born.size_bytes;
	if (!page) {
		count_event(TM_KERNEL_failed_allocations, 0);
		return 0;
	}
	count_event(TM_KERNEL_pages_allocated, born.pages);
	if (gfp & GFP_MOVABLE && !keep_movable) {
		count_event(TM_KERNEL_movable_pages, born.size_bytes);
		return 0;
	}
	if (is_inside_vmalloc()) {
		count_event(TM_KERNEL_pages_of_vmalloc, born.size_bytes);
		return 0;
	}
	track_alloc(ctx, &page_blocks, &place, &born);
	if (order && !(gfp & GFP_COMP))
		__sync_fetch_and_add(&splittable[order & (SPLITTABLE_ORDERS - 1)], 1);
	return 0;
}

static __always_inline void forget_splittable(u32 order)
{
	volatile __u64 *live = &splittable[order & (SPLITTABLE_ORDERS - 1)];

	if (order && *live)
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
		forget_splittable(block->order);
		track_free(&page_blocks, head);
		return true;
	}
	__sync_fetch_and_add(&block->remaining_pages, -pages);
	settle(block, (u64)pages << PAGE_BYTES_SHIFT, 0);
	return true;
}

/* page, order */
SEC("?raw_tp/mm_page_free")
int on_page_free(struct bpf_raw_tracepoint_args *ctx)
{
	u64 page = ctx->args[0];
	u32 order = ctx->args[1];

	if (!is_counting || order > TM_MAX_ORDER)
		return 0;
	count_event(TM_KERNEL_pages_freed, 1U << order);
	if (free_part(page, 1U << order))
		return 0;
	for (u32 larger = 1; larger <= TM_MAX_ORDER; larger++) {
		u64 head = page & ~((1UL << (larger + PAGE_STRUCT_SHIFT)) - 1);

		if (larger <= order || !splittable[larger] || head == page)
			continue;
		if (free_part(head, 1U << order))
			return 0;
	}
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TM_VERIFY_BATCH);
	__type(key, u32);
	__type(value, struct tm_page_verdict);
} verdicts SEC(".maps");

/*
 * Run by userspace, not attached: what are these pages now? args: how many verdicts are asked for,
 * and whether they are addresses of slab objects.
 */
SEC("?raw_tp/mm_page_free")
int look_at_pages(struct bpf_raw_tracepoint_args *ctx)
{
	u64 count = ctx->args[0];
	bool objects = ctx->args[1];

	for (u32 i = 0; i < TM_VERIFY_BATCH; i++) {
		u32 index = i;
		struct tm_page_verdict *verdict = bpf_map_lookup_elem(&verdicts, &index);
		u64 page;

		if (!verdict || i >= count)
			break;
		page = objects ? page_of(verdict->page) : verdict->page;
		verdict->use = TM_PAGE_UNKNOWN;
		verdict->cache = 0;
		if (!page)
			continue;
		page = head_of(page);
		verdict->use = use_of_head(page);
		if (verdict->use == TM_PAGE_SLAB)
			verdict->cache = slab_cache_of(page);
	}
	return 0;
}
