// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is what counts as live live? Run by userspace, not attached, but for the first: each looks at a
 * batch of addresses and says what it finds, or takes off what it finds free.
 */
#include "lib/free_lists.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* The array of the kernel, for userspace to say; 0: kallsyms does not tell data symbols. */
const volatile __u64 per_cpu_offset_at = 0;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_array___any {
	void *pptrs[0];
};
#pragma clang attribute pop

/* Above it lies the kernel itself, and with it the head of the list of caches. */
#define KERNEL_IMAGE 0xffffffff80000000UL
#define CACHES_LIMIT 2048

#define BATCH(name, record)                                                                        \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, TM_VERIFY_BATCH);                                              \
		__type(key, u32);                                                                  \
		__type(value, struct record);                                                      \
	} name SEC(".maps")

BATCH(verdicts, tm_page_verdict);
BATCH(objects_to_check, tm_object_check);
BATCH(free_lists, tm_free_list);

/* The cache that struct kmem_cache comes from is the only one that an object of itself describes.
 */
static __always_inline bool is_page_base(u64 base, u64 cache)
{
	u64 own = slab_cache_of(head_of(page_at(base, cache)));

	return own && slab_cache_of(head_of(page_at(base, own))) == own;
}

/*
 * Without data symbols: a slab that is partly free knows one of its free objects by address, and is
 * itself a struct page. Pages of a slab are aligned to its size.
 */
static __always_inline void learn_page_base(struct kmem_cache *cache)
{
	struct kmem_cache___per_node *beside = (void *)cache;
	struct kmem_cache___nodes *nodes = (void *)cache;
	struct slab___any *slab = NULL;
	u64 first = 0, free, guess;
	u32 order;

	if (!bpf_core_type_exists(struct slab___any) || !bpf_core_field_exists(slab->freelist))
		return;
	if (bpf_core_field_exists(beside->per_node))
		first = (u64)BPF_CORE_READ(beside, per_node[0].node, partial.next);
	else if (bpf_core_field_exists(nodes->node))
		first = (u64)BPF_CORE_READ(nodes, node[0], partial.next);
	if (!first)
		return;
	slab = (void *)(first - bpf_core_field_offset(struct slab___any, slab_list));
	if (BPF_CORE_READ(slab, slab_cache) != cache)
		return;
	free = (u64)BPF_CORE_READ(slab, freelist);
	order = BPF_CORE_READ(cache, oo.x) >> 16;
	if (!free || order > TM_MAX_ORDER)
		return;
	free &= ~((1UL << (PAGE_BYTES_SHIFT + order)) - 1);
	guess = (u64)slab - (free >> PAGE_BYTES_SHIFT << PAGE_STRUCT_SHIFT);
	if (is_page_base(guess, (u64)cache))
		page_base = guess;
}

/* Attached for as long as it takes. */
SEC("?raw_tp/kmem_cache_alloc")
int find_direct_map(struct bpf_raw_tracepoint_args *ctx)
{
	if (!page_base)
		learn_page_base((void *)ctx->args[2]);
	return 0;
}

/* A number, where the verifier sees a pointer. */
volatile __u64 last_address = 0;

/* The percpu memory of our own counters is at a known place on each CPU. */
static __always_inline u64 offset_by_our_own(u32 cpu)
{
	u32 zero = 0;
	void *slot;
	u64 map, percpu = 0;

	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_map_lookup_percpu_elem))
		return 0;
	slot = bpf_map_lookup_percpu_elem(&counters, &zero, cpu);
	if (!slot)
		return 0;
	last_address = (u64)&counters;
	map = last_address;
	last_address = (u64)slot;
	bpf_probe_read_kernel(&percpu, sizeof(percpu),
			      (void *)(map + bpf_core_field_offset(struct bpf_array___any, pptrs)));
	return last_address - percpu;
}

/* args: a CPU */
SEC("?raw_tp/mm_page_free")
int find_cpu(struct bpf_raw_tracepoint_args *ctx)
{
	u32 cpu = ctx->args[0];
	u64 offset = 0;

	if (per_cpu_offset_at)
		bpf_probe_read_kernel(&offset, sizeof(offset),
				      (void *)(per_cpu_offset_at + cpu * sizeof(offset)));
	else
		offset = offset_by_our_own(cpu);
	if (bpf_map_update_elem(&cpu_offsets, &cpu, &offset, BPF_ANY))
		count_event(TM_KERNEL_updates_refused, 0);
	return 0;
}

/* One of the list of caches, unless it is the list's head, or one that just goes. */
__weak __noinline int note_cache(u64 cache, u64 own)
{
	if (cache < KERNEL_IMAGE && cache_of_object(cache) == own)
		cache_record(cache);
	return 0;
}

/* All caches that the kernel has, from the one that our own task comes from. */
SEC("?raw_tp/mm_page_free")
int list_caches(struct bpf_raw_tracepoint_args *ctx)
{
	u64 first = cache_of_object(bpf_get_current_task());
	u64 list = bpf_core_field_offset(struct kmem_cache___any, list);
	u64 own = cache_of_object(first), cache = first;

	if (!first || !own)
		return 0;
	for (u32 i = 0; i < CACHES_LIMIT; i++) {
		note_cache(cache, own);
		cache = (u64)BPF_CORE_READ((struct kmem_cache___any *)cache, list.next) - list;
		if (cache == first || cache == -list)
			break;
	}
	return 0;
}

/* args: how many verdicts. What are these pages now? */
SEC("?raw_tp/mm_page_free")
int look_at_pages(struct bpf_raw_tracepoint_args *ctx)
{
	u64 count = ctx->args[0];

	for (u32 i = 0; i < TM_VERIFY_BATCH; i++) {
		u32 index = i;
		struct tm_page_verdict *verdict = bpf_map_lookup_elem(&verdicts, &index);
		u64 page;

		if (!verdict || i >= count)
			break;
		page = head_of(verdict->page);
		verdict->use = use_of_head(page);
		verdict->cache = verdict->use == TM_PAGE_SLAB ? slab_cache_of(page) : 0;
	}
	return 0;
}

/* args: how many verdicts, a time. Those that are free are taken off. */
SEC("?raw_tp/mm_page_free")
int drop_free_pages(struct bpf_raw_tracepoint_args *ctx)
{
	u64 count = ctx->args[0], before = ctx->args[1];

	for (u32 i = 0; i < TM_VERIFY_BATCH; i++) {
		u32 index = i;
		struct tm_page_verdict *verdict = bpf_map_lookup_elem(&verdicts, &index);

		if (!verdict || i >= count)
			break;
		if (use_of_head(head_of(verdict->page)) == TM_PAGE_FREE)
			drop_block(&page_blocks, verdict->page, before);
	}
	return 0;
}

/* The slab of an object; 0 where it is in none, or not in one of the cache that it came from. */
static __always_inline u64 slab_of(u64 address, u64 cache)
{
	u64 head = head_of(page_of(address));

	if (use_of_head(head) != TM_PAGE_SLAB || slab_cache_of(head) != cache)
		return 0;
	return head;
}

__weak __noinline int check_object(u32 index, u64 before)
{
	struct tm_object_check *check = bpf_map_lookup_elem(&objects_to_check, &index);
	struct tm_kernel_block *block;
	struct tm_kernel_site *site;
	u64 address;

	if (!check)
		return 0;
	check->slab = 0;
	check->cache = 0;
	address = check->address;
	block = bpf_map_lookup_elem(&slab_blocks, &address);
	if (!block || !page_of(address))
		return 0;
	site = bpf_map_lookup_elem(&sites, &block->site_id);
	if (!site)
		return 0;
	check->cache = site->place.cache;
	/* A large kmalloc has pages of its own. */
	if (!check->cache) {
		if (use_of_head(head_of(page_of(address))) == TM_PAGE_FREE)
			drop_object(address, before);
		return 0;
	}
	check->slab = slab_of(address, check->cache);
	if (!check->slab)
		drop_object(address, before);
	return 0;
}

/* args: how many objects, a time. Those whose page has changed hands are taken off. */
SEC("?raw_tp/mm_page_free")
int check_objects(struct bpf_raw_tracepoint_args *ctx)
{
	u64 count = ctx->args[0], before = ctx->args[1];

	for (u32 i = 0; i < TM_VERIFY_BATCH; i++) {
		if (i >= count)
			break;
		check_object(i, before);
	}
	return 0;
}

static __always_inline void say_found(struct tm_free_list *list, u32 found)
{
	list->free_objects = found & WALK_MASK;
	list->cut = found >= WALK_CUT;
}

__weak __noinline int check_slab(u32 index, u64 before)
{
	struct tm_free_list *list = bpf_map_lookup_elem(&free_lists, &index);

	if (!list)
		return 0;
	/* The slab may have gone meanwhile. */
	if (slab_cache_of(list->where) == list->cache)
		say_found(list,
			  walk_list(list->cache, list->where, free_list_of(list->where), before));
	else
		say_found(list, 0);
	return 0;
}

__weak __noinline int check_cpu(u32 index, u64 before)
{
	struct tm_free_list *list = bpf_map_lookup_elem(&free_lists, &index);
	u64 *offset;
	u32 cpu;

	if (!list)
		return 0;
	cpu = list->where;
	offset = bpf_map_lookup_elem(&cpu_offsets, &cpu);
	if (offset && *offset)
		say_found(list, walk_cpu_slab(list->cache, *offset, before) +
					walk_cpu_sheaves(list->cache, *offset, before));
	return 0;
}

__weak __noinline int check_barn(u32 index, u64 before)
{
	struct tm_free_list *list = bpf_map_lookup_elem(&free_lists, &index);

	if (list)
		say_found(list, walk_barn(list->cache, list->where, before));
	return 0;
}

/* args of these three: how many lists, a time. */
SEC("?raw_tp/mm_page_free")
int walk_slabs(struct bpf_raw_tracepoint_args *ctx)
{
	u64 count = ctx->args[0], before = ctx->args[1];

	for (u32 i = 0; i < TM_VERIFY_BATCH; i++) {
		if (i >= count)
			break;
		check_slab(i, before);
	}
	return 0;
}

SEC("?raw_tp/mm_page_free")
int walk_cpus(struct bpf_raw_tracepoint_args *ctx)
{
	u64 count = ctx->args[0], before = ctx->args[1];

	for (u32 i = 0; i < TM_VERIFY_BATCH; i++) {
		if (i >= count)
			break;
		check_cpu(i, before);
	}
	return 0;
}

SEC("?raw_tp/mm_page_free")
int walk_barns(struct bpf_raw_tracepoint_args *ctx)
{
	u64 count = ctx->args[0], before = ctx->args[1];

	for (u32 i = 0; i < TM_VERIFY_BATCH; i++) {
		if (i >= count)
			break;
		check_barn(i, before);
	}
	return 0;
}
