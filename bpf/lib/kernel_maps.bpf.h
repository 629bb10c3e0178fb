/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps of kernel memory tracing. Weak, so that several .bpf.c files of one skeleton share them.
 *
 * All are preallocated: these programs run inside the allocators, where an insert that allocates
 * would call them again, and with interrupts off. Userspace sets max_entries before loading.
 */
#ifndef TIDEMARK_KERNEL_MAPS_BPF_H
#define TIDEMARK_KERNEL_MAPS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "../abi/kernel.h"

/* Closed until every program is attached: a block whose allocation is counted must not be freed
 * past us. */
volatile __u32 is_counting __weak = 0;

/* Before the gate closes for the last time frees are still counted and allocations are not. */
volatile __u32 takes_allocations __weak = 0;

/* enum tm_stacks */
const volatile __u32 stacks_wanted __weak = TM_STACKS_GROWING;
/* --cache was given: only caches of these names. */
const volatile __u32 wanted_names __weak = 0;
const volatile __u64 wanted_name[TM_MAX_WANTED] __weak = {}; /* tm_name_number() */

/* Places whose stacks are wanted because they grow. */
volatile __u32 growing_places __weak = 0;

#define BLOCK_MAP(name)                                                                            \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_HASH);                                                   \
		__uint(max_entries, 1);                                                            \
		__type(key, u64);                                                                  \
		__type(value, struct tm_kernel_block);                                             \
	} name __weak SEC(".maps")

BLOCK_MAP(slab_blocks);
BLOCK_MAP(page_blocks);
BLOCK_MAP(percpu_blocks);
BLOCK_MAP(vmalloc_blocks);

/* A thread that is inside vmalloc, which for large areas calls itself: its pages are its own. */
struct inside_vmalloc {
	u32 told; /* pages that the tracepoint has told meanwhile */
	u32 depth;
};
const volatile bool vmalloc_is_traced __weak = false;
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct inside_vmalloc);
} inside_vmalloc __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, struct tm_kernel_site);
} sites __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, struct tm_kernel_stack);
} stacks __weak SEC(".maps");

/* Which place wants stacks; the value is when it began. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct tm_kernel_place);
	__type(value, u64);
} growing __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct tm_kernel_cache);
} caches __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TM_KERNEL_COUNTER_SLOTS);
	__type(key, u32);
	__type(value, struct tm_count);
} counters __weak SEC(".maps");

static __always_inline void count_event(enum tm_kernel_counter counter, u64 bytes)
{
	u32 index = counter;
	struct tm_count *slot = bpf_map_lookup_elem(&counters, &index);

	if (!slot)
		return;
	/* An interrupt may run another of our programs in between. */
	__sync_fetch_and_add(&slot->count, 1);
	/* clang makes an atomic "or" of an addition of 0, which kernels have since 5.12. */
	barrier_var(bytes);
	if (bytes)
		__sync_fetch_and_add(&slot->bytes, bytes);
}

#endif
