// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages, by the tracepoints of the page allocator.
 *
 * mm_page_free_batched repeats what mm_page_free has told, and mm_page_pcpu_drain moves pages that
 * are free already: neither is attached.
 */
#include "lib/page_track.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* page, order, gfp_flags, migratetype */
SEC("?raw_tp/mm_page_alloc")
int on_page_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	page_born(ctx, ctx->args[0], ctx->args[1], ctx->args[2], 0);
	return 0;
}

/* page, order */
SEC("?raw_tp/mm_page_free")
int on_page_free(struct bpf_raw_tracepoint_args *ctx)
{
	page_freed(ctx->args[0], ctx->args[1]);
	return 0;
}
