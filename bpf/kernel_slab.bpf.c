// SPDX-License-Identifier: GPL-2.0-only
/*
 * Slab objects and kmalloc, by the tracepoints of the allocators. Also percpu memory, which has no
 * more than two events.
 *
 * raw_tp and not tp_btf: it reads the same arguments, loads wherever the tracepoint has another
 * list of them, and exists on every kernel. perf tracepoints would lose, without a count, whatever
 * an interrupt allocates or frees while a BPF program runs.
 */
#include "lib/slab.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* Since 6.1 the event carries the cache in place of the sizes. Told by the kernel's own types. */
const volatile bool alloc_tells_cache = true;
/* The call site came in front of the other arguments after 5.10. */
const volatile bool percpu_tells_call_site = true;
const volatile __u32 possible_cpus = 1;

static __always_inline void slab_alloc(void *ctx, u64 call_site, u64 cache, u64 address, u64 size,
				       u64 usable)
{
	struct tm_kernel_place place = {
		.call_site = call_site, .cache = cache, .kind = TM_KERNEL_SLAB};
	struct new_block born = {.address = address, .size_bytes = size, .usable_bytes = usable};

	born.may_repeat = usable > LARGEST_SLAB_OBJECT;
	track_alloc(ctx, &slab_blocks, &place, &born);
}

/* Is this an allocation to be recorded, and not one that failed? */
static __always_inline bool is_born(u64 address)
{
	if (!takes_allocations)
		return false;
	if (!address)
		count_event(TM_KERNEL_failed_allocations, 0);
	return address;
}

static __always_inline void kmalloc_event(void *ctx, const __u64 *args)
{
	u64 call_site = args[0], address = args[1], size = args[2], usable = args[3];
	u64 cache = 0;

	if (!is_born(address) || address < LOWEST_ADDRESS)
		return;
	if (usable > LARGEST_SLAB_OBJECT)
		take_off_pages(address);
	else
		cache = cache_of_object(address);
	if (passes_filter(cache))
		slab_alloc(ctx, call_site, cache, address, size, usable);
}

SEC("?raw_tp/kmalloc")
int on_kmalloc(struct bpf_raw_tracepoint_args *ctx)
{
	kmalloc_event(ctx, ctx->args);
	return 0;
}

/* Until 6.0; a kmalloc with one more argument. */
SEC("?raw_tp/kmalloc_node")
int on_kmalloc_node(struct bpf_raw_tracepoint_args *ctx)
{
	kmalloc_event(ctx, ctx->args);
	return 0;
}

static __always_inline void cache_alloc_event(void *ctx, const __u64 *args)
{
	u64 address = args[1], cache;

	if (!is_born(address))
		return;
	if (!alloc_tells_cache) {
		cache = cache_of_object(address);
		if (passes_filter(cache))
			slab_alloc(ctx, args[0], cache, address, args[2], args[3]);
		return;
	}
	cache = args[2];
	if (!passes_filter(cache))
		return;
	slab_alloc(ctx, args[0], cache, address,
		   BPF_CORE_READ((struct kmem_cache *)cache, object_size),
		   BPF_CORE_READ((struct kmem_cache *)cache, size));
}

SEC("?raw_tp/kmem_cache_alloc")
int on_cache_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	cache_alloc_event(ctx, ctx->args);
	return 0;
}

/* Until 6.0. */
SEC("?raw_tp/kmem_cache_alloc_node")
int on_cache_alloc_node(struct bpf_raw_tracepoint_args *ctx)
{
	cache_alloc_event(ctx, ctx->args);
	return 0;
}

SEC("?raw_tp/kfree")
int on_kfree(struct bpf_raw_tracepoint_args *ctx)
{
	slab_free(ctx->args[1]);
	return 0;
}

SEC("?raw_tp/kmem_cache_free")
int on_cache_free(struct bpf_raw_tracepoint_args *ctx)
{
	slab_free(ctx->args[1]);
	return 0;
}

/* (call_site,) reserved, is_atomic, size, align, base_addr, off, ptr */
SEC("?raw_tp/percpu_alloc_percpu")
int on_percpu_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	/* All are read first: a choice between two offsets is one that the verifier does not
	 * follow. The eighth by a helper: where there are seven (5.10), a program that reads it
	 * itself cannot be attached. */
	u64 first = ctx->args[0], third = ctx->args[2], fourth = ctx->args[3];
	u64 seventh = ctx->args[6], eighth = 0;
	struct tm_kernel_place place = {.kind = TM_KERNEL_PERCPU};
	struct new_block born = {};

	if (!takes_allocations)
		return 0;
	if (percpu_tells_call_site)
		bpf_probe_read_kernel(&eighth, sizeof(eighth), &ctx->args[7]);
	place.call_site = percpu_tells_call_site ? first : 0;
	born.size_bytes = percpu_tells_call_site ? fourth : third;
	born.address = percpu_tells_call_site ? eighth : seventh;
	born.usable_bytes = born.size_bytes * possible_cpus;
	if (born.address)
		track_alloc(ctx, &percpu_blocks, &place, &born);
	return 0;
}

/* base_addr, off, ptr: the size is known from the allocation. */
SEC("?raw_tp/percpu_free_percpu")
int on_percpu_free(struct bpf_raw_tracepoint_args *ctx)
{
	if (is_counting)
		track_free(&percpu_blocks, ctx->args[2]);
	return 0;
}
