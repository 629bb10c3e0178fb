/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where SLUB keeps objects that are free: the list of each slab, the list of each CPU, and since
 * 6.18 sheaves of each CPU and full ones in the barn of each node. Read without locks, from memory
 * that changes meanwhile: a list is followed as long as it stays within its slab.
 *
 * A walk is given a time before it began. What was allocated later is left alone: it may have been
 * on the list when the walk came by.
 */
#ifndef TIDEMARK_FREE_LISTS_BPF_H
#define TIDEMARK_FREE_LISTS_BPF_H

#include "kernel_track.bpf.h"
#include "pages.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* CONFIG_SLAB_FREELIST_HARDENED: where there is a number, pointers in free objects are encoded. */
struct kmem_cache___any {
	unsigned int offset;
	struct list_head list;
	unsigned long random;
};
/* Gone since 7.0, where sheaves have taken its place. */
struct kmem_cache___cpu_slab {
	struct kmem_cache_cpu___any *cpu_slab;
};
/* `page` until 5.16. */
struct kmem_cache_cpu___any {
	void **freelist;
	void *slab;
	void *page;
	void *partial;
};
struct kmem_cache___sheaves {
	struct slub_percpu_sheaves___any *cpu_sheaves;
};
struct slab_sheaf___any {
	struct list_head barn_list;
	unsigned int size;
	void *objects[0];
};
struct slub_percpu_sheaves___any {
	struct slab_sheaf___any *main;
	struct slab_sheaf___any *spare;
	struct slab_sheaf___any *rcu_free;
};
struct node_barn___any {
	struct list_head sheaves_full;
};
/* Since 7.1 a node's barn lies beside its slabs. */
struct kmem_cache_per_node_ptrs___any {
	struct node_barn___any *barn;
	struct kmem_cache_node___any *node;
};
struct kmem_cache___per_node {
	struct kmem_cache_per_node_ptrs___any per_node[1];
};

#pragma clang attribute pop

/* Longer lists are cut: a slab of the smallest objects has 512. */
#define LIST_LIMIT  1024
#define SHEAF_LIMIT 512
/* Partly free slabs of a CPU, and full sheaves of a node. */
#define SLABS_LIMIT 64
#define BARN_LIMIT  32

/* Added to the number of objects that a walk found. */
#define WALK_CUT  0x10000
#define WALK_MASK 0xffff

/* What is to be added to a percpu pointer, by CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} cpu_offsets __weak SEC(".maps");

/* A block that is free, although no free was told: taken off and counted. */
static __always_inline void drop_block(void *blocks, u64 address, u64 before)
{
	struct tm_kernel_block *found = bpf_map_lookup_elem(blocks, &address);
	struct tm_kernel_block block;
	struct tm_kernel_site *site;
	int error;

	if (!found || found->birth_ns >= before)
		return;
	block = *found;
	error = bpf_map_delete_elem(blocks, &address);
	if (error)
		return;
	settle(&block, bytes_left(&block), 1);
	site = bpf_map_lookup_elem(&sites, &block.site_id);
	if (site)
		__sync_fetch_and_add(&site->dropped_frees, 1);
	count_event(TM_KERNEL_dropped_by_verification, bytes_left(&block));
}

/* In loops: verified once. */
__weak __noinline int drop_object(u64 address, u64 before)
{
	drop_block(&slab_blocks, address, before);
	return 0;
}

static __always_inline u64 swap_bytes(u64 word)
{
	return __builtin_bswap64(word);
}

/* The object behind a free one; both lie in the same slab. */
static __always_inline u64 next_free(u64 cache, u64 object)
{
	struct kmem_cache___any *rules = (void *)cache;
	u64 at = object + BPF_CORE_READ(rules, offset);
	u64 next = 0;

	if (bpf_probe_read_kernel(&next, sizeof(next), (void *)at))
		return ~0UL;
	if (bpf_core_field_exists(rules->random))
		next ^= BPF_CORE_READ(rules, random) ^ swap_bytes(at);
	return next;
}

/* Takes off what lies on a list and is live to us; how many there are. */
__weak __noinline int walk_list(u64 cache, u64 slab, u64 object, u64 before)
{
	u64 first = (slab - page_base) >> PAGE_STRUCT_SHIFT << PAGE_BYTES_SHIFT;
	u32 order = BPF_CORE_READ((struct kmem_cache *)cache, oo.x) >> 16;
	u64 bytes = 1UL << (PAGE_BYTES_SHIFT + (order & 0xf));

	for (u32 i = 0; i < LIST_LIMIT; i++) {
		if (!object)
			return i;
		if (object - first >= bytes)
			return i | WALK_CUT;
		drop_object(object, before);
		object = next_free(cache, object);
	}
	return LIST_LIMIT | WALK_CUT;
}

static __always_inline u64 free_list_of(u64 slab)
{
	struct slab___any *by_slab = (void *)slab;
	struct page___slab *by_page = (void *)slab;

	if (bpf_core_type_exists(struct slab___any))
		return (u64)BPF_CORE_READ(by_slab, freelist);
	if (bpf_core_field_exists(by_page->freelist))
		return (u64)BPF_CORE_READ(by_page, freelist);
	return 0;
}

/* On the slab's own list, by its count. */
static __always_inline u32 free_in_slab(u64 slab)
{
	struct slab___any *by_slab = (void *)slab;
	struct page___slab *by_page = (void *)slab;
	u64 objects = 0, inuse = 0;

	if (bpf_core_type_exists(struct slab___any)) {
		objects = BPF_CORE_READ_BITFIELD_PROBED(by_slab, objects);
		inuse = BPF_CORE_READ_BITFIELD_PROBED(by_slab, inuse);
	} else if (bpf_core_field_exists(by_page->freelist)) {
		objects = BPF_CORE_READ_BITFIELD_PROBED(by_page, objects);
		inuse = BPF_CORE_READ_BITFIELD_PROBED(by_page, inuse);
	}
	return objects > inuse ? objects - inuse : 0;
}

static __always_inline u64 next_slab(u64 slab)
{
	struct slab___any *by_slab = (void *)slab;
	struct page___slab *by_page = (void *)slab;

	if (bpf_core_field_exists(by_slab->next))
		return (u64)BPF_CORE_READ(by_slab, next);
	if (bpf_core_field_exists(by_page->next))
		return (u64)BPF_CORE_READ(by_page, next);
	return 0;
}

/* A CPU's slab, whose objects are on two lists, and the slabs that it has in reserve. */
static __always_inline u32 walk_cpu_slab(u64 cache, u64 offset, u64 before)
{
	struct kmem_cache___cpu_slab *by_cpu = (void *)cache;
	struct kmem_cache_cpu___any *cpu;
	u64 slab = 0, reserve = 0;
	u32 count = 0;

	if (!bpf_core_field_exists(by_cpu->cpu_slab))
		return 0;
	cpu = (void *)((u64)BPF_CORE_READ(by_cpu, cpu_slab) + offset);
	if (bpf_core_field_exists(cpu->slab))
		slab = (u64)BPF_CORE_READ(cpu, slab);
	else if (bpf_core_field_exists(cpu->page))
		slab = (u64)BPF_CORE_READ(cpu, page);
	if (slab)
		count = walk_list(cache, slab, (u64)BPF_CORE_READ(cpu, freelist), before) +
			free_in_slab(slab);
	if (bpf_core_field_exists(cpu->partial))
		reserve = (u64)BPF_CORE_READ(cpu, partial);
	for (u32 i = 0; i < SLABS_LIMIT && reserve; i++) {
		count += free_in_slab(reserve);
		reserve = next_slab(reserve);
	}
	return count;
}

__weak __noinline int walk_sheaf(u64 address, u64 before)
{
	struct slab_sheaf___any *sheaf = (void *)address;
	u32 size;

	if (!sheaf || !bpf_core_type_exists(struct slab_sheaf___any))
		return 0;
	size = BPF_CORE_READ(sheaf, size);
	for (u32 i = 0; i < SHEAF_LIMIT; i++) {
		u64 object = 0, at;

		if (i >= size)
			return i;
		at = address + bpf_core_field_offset(struct slab_sheaf___any, objects) + i * 8;
		bpf_probe_read_kernel(&object, sizeof(object), (void *)at);
		drop_object(object, before);
	}
	return SHEAF_LIMIT | WALK_CUT;
}

/* What kfree_rcu() has put into the third is waiting for a grace period: nobody's any more. */
static __always_inline u32 walk_cpu_sheaves(u64 cache, u64 offset, u64 before)
{
	struct kmem_cache___sheaves *by_cpu = (void *)cache;
	struct slub_percpu_sheaves___any *sheaves;
	u64 percpu;

	if (!bpf_core_field_exists(by_cpu->cpu_sheaves))
		return 0;
	percpu = (u64)BPF_CORE_READ(by_cpu, cpu_sheaves);
	if (!percpu)
		return 0;
	sheaves = (void *)(percpu + offset);
	return walk_sheaf((u64)BPF_CORE_READ(sheaves, main), before) +
	       walk_sheaf((u64)BPF_CORE_READ(sheaves, spare), before) +
	       walk_sheaf((u64)BPF_CORE_READ(sheaves, rcu_free), before);
}

static __always_inline u64 barn_of(u64 cache, u64 node)
{
	struct kmem_cache___nodes *by_node = (void *)cache;
	struct kmem_cache___per_node *beside = (void *)cache;
	struct kmem_cache_node___any *of_node = NULL;
	struct node_barn___any *barn = NULL;
	u64 at;

	if (bpf_core_field_exists(beside->per_node)) {
		at = cache + bpf_core_field_offset(struct kmem_cache___per_node, per_node);
		at += node * bpf_core_type_size(struct kmem_cache_per_node_ptrs___any);
		return (u64)BPF_CORE_READ((struct kmem_cache_per_node_ptrs___any *)at, barn);
	}
	if (!bpf_core_field_exists(by_node->node) || !bpf_core_field_exists(of_node->barn))
		return 0;
	at = cache + bpf_core_field_offset(struct kmem_cache___nodes, node) + node * sizeof(at);
	if (bpf_probe_read_kernel(&of_node, sizeof(of_node), (void *)at) || !of_node)
		return 0;
	barn = BPF_CORE_READ(of_node, barn);
	return (u64)barn;
}

static __always_inline u32 walk_barn(u64 cache, u64 node, u64 before)
{
	u64 barn = barn_of(cache, node), head, entry;
	u32 count = 0;

	if (!barn || !bpf_core_type_exists(struct node_barn___any))
		return 0;
	head = barn + bpf_core_field_offset(struct node_barn___any, sheaves_full);
	entry = (u64)BPF_CORE_READ((struct list_head *)head, next);
	for (u32 i = 0; i < BARN_LIMIT; i++) {
		if (!entry || entry == head)
			return count;
		count += walk_sheaf(
			entry - bpf_core_field_offset(struct slab_sheaf___any, barn_list), before);
		entry = (u64)BPF_CORE_READ((struct list_head *)entry, next);
	}
	return count | WALK_CUT;
}

#endif
