/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernels in pages and slabs, one accessor each. Presence is asked of the
 * running kernel's types, never its version.
 */
#ifndef TIDEMARK_PAGES_BPF_H
#define TIDEMARK_PAGES_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "../abi/kernel.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* "mm: rename the 'compound_head' field in the 'struct page' to 'compound_info'", Linux 7.1. The
 * first can go when 6.18 does. */
struct page___head {
	unsigned long compound_head;
};
struct page___info {
	unsigned long compound_info;
};

/* Since Linux 6.11 one byte tells the type, and its values are an enum; before 6.10 a slab was a
 * bit of `flags`. */
struct page___typed {
	unsigned int page_type;
};
enum pagetype___any {
	PGTY_buddy___any = 1,
	PGTY_table___any = 2,
	PGTY_slab___any = 3,
	PGTY_large_kmalloc___any = 4,
};
enum pageflags___any {
	PG_slab___any = 1,
	PG_lru___any = 2,
};
/* A structure around the flags, since Linux 6.18. */
typedef struct {
	unsigned long f;
} memdesc_flags_t___any;
struct page___memdesc {
	memdesc_flags_t___any flags;
};
struct page___flags {
	unsigned long flags;
};
struct page___count {
	atomic_t _refcount;
};

/* A type of its own since Linux 5.17. Before, it is all in the page. */
struct slab___any {
	struct kmem_cache *slab_cache;
	struct list_head slab_list;
	void *next;
	void *freelist;
	unsigned int inuse : 16;
	unsigned int objects : 15;
};
struct page___slab {
	struct kmem_cache *slab_cache;
	void *next;
	void *freelist;
	unsigned int inuse : 16;
	unsigned int objects : 15;
};
/* Until 7.1 the nodes of a cache are an array of pointers. */
struct kmem_cache_node___any {
	struct list_head partial;
	struct node_barn___any *barn;
};
struct kmem_cache___nodes {
	struct kmem_cache_node___any *node[1];
};

#pragma clang attribute pop

/*
 * The struct page of a page-aligned virtual address v of the direct map is `v / 64 + page_base`
 * where a struct page has 64 bytes: vmemmap_base - page_offset_base / 64. Both are chosen anew at
 * each boot. 0: not known (yet).
 */
volatile __u64 page_base __weak = 0;

/* Where the kernel keeps the two, for userspace to say; 0: kallsyms does not tell data symbols. */
const volatile __u64 vmemmap_base_at __weak = 0;
const volatile __u64 page_offset_base_at __weak = 0;

#define PAGE_STRUCT_SHIFT 6
#define PAGE_BYTES_SHIFT  12
/* A tail page's compound_info is a mask where it is larger: no struct page lies there. */
#define LOWEST_PAGE_MASK 0xffffffffc0000000UL

static __always_inline void read_page_base(void)
{
	u64 vmemmap = 0, direct_map = 0;

	bpf_probe_read_kernel(&vmemmap, sizeof(vmemmap), (void *)vmemmap_base_at);
	bpf_probe_read_kernel(&direct_map, sizeof(direct_map), (void *)page_offset_base_at);
	if (vmemmap && direct_map)
		page_base = vmemmap - (direct_map >> PAGE_STRUCT_SHIFT);
}

static __always_inline u64 page_at(u64 base, u64 address)
{
	return base + (address >> PAGE_BYTES_SHIFT << PAGE_STRUCT_SHIFT);
}

/* The struct page of an address of the direct map; 0: not known. */
static __always_inline u64 page_of(u64 address)
{
	if (!page_base && vmemmap_base_at)
		read_page_base();
	if (!page_base)
		return 0;
	return page_at(page_base, address);
}

/* The struct page of a page frame; 0: not known. */
static __always_inline u64 page_of_frame(u64 pfn)
{
	u64 vmemmap = 0;

	if (!vmemmap_base_at)
		return 0;
	bpf_probe_read_kernel(&vmemmap, sizeof(vmemmap), (void *)vmemmap_base_at);
	return vmemmap ? vmemmap + (pfn << PAGE_STRUCT_SHIFT) : 0;
}

static __always_inline u64 head_of(u64 page)
{
	struct page___head *by_head = (void *)page;
	struct page___info *by_info = (void *)page;
	u64 info = 0;

	if (bpf_core_field_exists(by_head->compound_head))
		info = BPF_CORE_READ(by_head, compound_head);
	else if (bpf_core_field_exists(by_info->compound_info))
		info = BPF_CORE_READ(by_info, compound_info);
	if (!(info & 1))
		return page;
	return info >= LOWEST_PAGE_MASK ? page & info : info - 1;
}

static __always_inline u64 page_flags(u64 page)
{
	struct page___memdesc *by_memdesc = (void *)page;
	struct page___flags *by_flags = (void *)page;

	if (bpf_core_field_exists(by_memdesc->flags.f))
		return BPF_CORE_READ(by_memdesc, flags.f);
	return BPF_CORE_READ(by_flags, flags);
}

static __always_inline u64 slab_cache_of(u64 head)
{
	struct slab___any *slab = (void *)head;
	struct page___slab *page = (void *)head;

	if (bpf_core_type_exists(struct slab___any))
		return (u64)BPF_CORE_READ(slab, slab_cache);
	if (bpf_core_field_exists(page->slab_cache))
		return (u64)BPF_CORE_READ(page, slab_cache);
	return 0;
}

/* The cache that a live object from a slab belongs to; 0: not known. */
static __always_inline u64 cache_of_object(u64 address)
{
	u64 page = page_of(address);

	return page ? slab_cache_of(head_of(page)) : 0;
}

static __always_inline u32 use_by_type(u64 head)
{
	u32 type = BPF_CORE_READ((struct page___typed *)head, page_type) >> 24;

	if (type == bpf_core_enum_value(enum pagetype___any, PGTY_slab___any))
		return TM_PAGE_SLAB;
	if (type == bpf_core_enum_value(enum pagetype___any, PGTY_buddy___any))
		return TM_PAGE_FREE;
	if (type == bpf_core_enum_value(enum pagetype___any, PGTY_table___any))
		return TM_PAGE_TABLE;
	if (bpf_core_enum_value_exists(enum pagetype___any, PGTY_large_kmalloc___any) &&
	    type == bpf_core_enum_value(enum pagetype___any, PGTY_large_kmalloc___any))
		return TM_PAGE_LARGE_KMALLOC;
	return TM_PAGE_OTHER;
}

/* A page that nobody refers to and that has no type lies on a per-CPU free list. */
static __always_inline u32 use_of_head(u64 head)
{
	u64 flags = page_flags(head);
	u32 use = TM_PAGE_OTHER;

	if (bpf_core_enum_value_exists(enum pagetype___any, PGTY_slab___any))
		use = use_by_type(head);
	else if (bpf_core_enum_value_exists(enum pageflags___any, PG_slab___any) &&
		 flags & 1UL << bpf_core_enum_value(enum pageflags___any, PG_slab___any))
		use = TM_PAGE_SLAB;
	if (use != TM_PAGE_OTHER)
		return use;
	if (flags & 1UL << bpf_core_enum_value(enum pageflags___any, PG_lru___any))
		return TM_PAGE_LRU;
	if (!BPF_CORE_READ((struct page___count *)head, _refcount.counter))
		return TM_PAGE_FREE;
	return TM_PAGE_OTHER;
}

#endif
