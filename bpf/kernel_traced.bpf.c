// SPDX-License-Identifier: GPL-2.0-only
/*
 * The same as kernel_calls.bpf.c by BPF trampolines (fentry, fexit), which cost less. Arguments are
 * read by helper, since not all of their types may be read directly.
 */
#include "lib/kernel_calls.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* Frames that may lie between the program and the caller of what it is attached to. */
#define CALLER_FRAMES 8
/* A return address that lies this close behind a function's start is the trampoline's. */
#define ENTRY_BYTES 32

static __always_inline u64 argument(void *ctx, u32 index)
{
	u64 value = 0;

	bpf_get_func_arg(ctx, index, &value);
	return value;
}

static __always_inline u64 result_of(void *ctx)
{
	u64 value = 0;

	bpf_get_func_ret(ctx, &value);
	return value;
}

/* Who called the function: its frame lies below that of the function's first instructions. */
static __noinline u64 caller_of(void *ctx)
{
	u64 frames[CALLER_FRAMES] = {}, function = bpf_get_func_ip(ctx);

	if (bpf_get_stack(ctx, frames, sizeof(frames), 0) <= 0)
		return 0;
	for (u32 i = 0; i + 1 < CALLER_FRAMES; i++) {
		if (frames[i] - function < ENTRY_BYTES)
			return frames[i + 1];
	}
	return 0;
}

SEC("?fexit")
int trace_kmem_alloc_bulk(void *ctx)
{
	struct call call = {
		.first = argument(ctx, 0), .count = argument(ctx, 2), .array = argument(ctx, 3)};

	if (!takes_allocations || !passes_filter(call.first) || !bulk_succeeded(result_of(ctx)))
		return 0;
	call.caller = caller_of(ctx);
	objects_born(ctx, &call);
	return 0;
}

SEC("?fentry")
int trace_kmem_free_bulk(void *ctx)
{
	objects_freed(argument(ctx, 1), argument(ctx, 2));
	return 0;
}

SEC("?fexit")
int trace_kfree_rcu_sheaf(void *ctx)
{
	if ((u8)result_of(ctx))
		slab_free(argument(ctx, 1));
	return 0;
}

SEC("?fexit")
int trace_kmalloc_nolock(void *ctx)
{
	struct call call = {.count = argument(ctx, 0)};

	if (!takes_allocations)
		return 0;
	call.caller = caller_of(ctx);
	object_born(ctx, &call, result_of(ctx));
	return 0;
}

SEC("?fentry")
int trace_kfree_nolock(void *ctx)
{
	slab_free(argument(ctx, 0));
	return 0;
}

/* Entry and exit of one call have the same context. */
SEC("?fentry")
int trace_kernel_vmalloc(void *ctx)
{
	struct call call = {.caller = argument(ctx, 8), .first = argument(ctx, 0)};

	if (takes_allocations)
		vmalloc_begins((u64)ctx, &call);
	return 0;
}

SEC("?fexit")
int trace_kernel_vmalloc_return(void *ctx)
{
	struct call call;

	if (take_call((u64)ctx, &call))
		vmalloc_ended(ctx, &call, result_of(ctx));
	return 0;
}

SEC("?fentry")
int trace_kernel_vfree(void *ctx)
{
	area_freed(argument(ctx, 0));
	return 0;
}

SEC("?fentry")
int trace_pages_bulk(void *ctx)
{
	struct call call = {.gfp = argument(ctx, 0), .count = argument(ctx, 3)};

	if (!takes_allocations)
		return 0;
	call.array = argument(ctx, pages_bulk_has_list ? 5 : 4);
	if (call.array)
		note_filled(&call);
	note_call((u64)ctx, &call);
	return 0;
}

SEC("?fexit")
int trace_pages_bulk_return(void *ctx)
{
	struct call call;

	if (!take_call((u64)ctx, &call))
		return 0;
	call.caller = caller_of(ctx);
	pages_born(ctx, &call, (u32)result_of(ctx));
	return 0;
}

SEC("?fexit")
int trace_contig(void *ctx)
{
	struct call call = {.gfp = argument(ctx, 3)};

	if (!takes_allocations || (int)result_of(ctx))
		return 0;
	call.caller = caller_of(ctx);
	range_born(ctx, &call, argument(ctx, 0), argument(ctx, 1));
	return 0;
}
