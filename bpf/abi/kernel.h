/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The records of kernel memory tracing, as both sides see them. Fixed layout, explicit padding,
 * 8-byte fields first.
 *
 *   slab_blocks, page_blocks, percpu_blocks
 *          { address } -> { size, birth, site id } ─┐
 *   sites  { site id } <────────────────────────────┘ -> key, totals
 *   stacks { stack id } -> frames        caches { kmem_cache * } -> name, sizes
 *
 * The address of a page is that of its struct page; of a percpu block what alloc_percpu() returned.
 */
#ifndef TIDEMARK_ABI_KERNEL_H
#define TIDEMARK_ABI_KERNEL_H

#include <linux/types.h>

#include "count.h"

/* Frames kept of a kernel stack, innermost first; the hook's own come first. */
#define TM_KERNEL_FRAMES 24
/* Names of caches end at 64 bytes in slabinfo's users, too. */
#define TM_CACHE_NAME 64
/* --cache: how many caches may be named. */
#define TM_MAX_WANTED 16
/* Addresses that one run of a verifying program looks at. */
#define TM_VERIFY_BATCH 256
#define TM_MAX_ORDER	10

/* In the order of model::Kind, behind heap and mapping. */
enum tm_kernel_kind {
	TM_KERNEL_SLAB = 2,
	TM_KERNEL_PAGE = 3,
	TM_KERNEL_VMALLOC = 4,
	TM_KERNEL_PERCPU = 5,
};

/* stacks_wanted */
enum tm_stacks { TM_STACKS_NEVER = 0, TM_STACKS_GROWING = 1, TM_STACKS_ALWAYS = 2 };

/* The always-on gear has no stack: then stack_id is 0. */
struct tm_kernel_place {
	__u64 call_site; /* return address of the allocator's caller; 0: the hook does not tell */
	__u64 cache;	 /* struct kmem_cache *; 0: none, or not known */
	__u32 gfp;	 /* of pages */
	__u16 kind;	 /* enum tm_kernel_kind */
	__u16 order;	 /* of pages */
};
TM_STATIC_ASSERT(sizeof(struct tm_kernel_place) == 24);

/* live = total - freed. In this order: a copy made while they change has freed <= total. */
struct tm_kernel_site {
	__u64 freed_bytes;
	__u64 freed_count;
	__u64 total_bytes;
	__u64 total_count;
	__u64 missed_frees;  /* a part of freed_count */
	__u64 dropped_frees; /* likewise: found free by verification */
	__u64 stack_id;
	struct tm_kernel_place place;
};
TM_STATIC_ASSERT(sizeof(struct tm_kernel_site) == 80);

struct tm_kernel_block {
	__u64 birth_ns;
	__u64 site_id;
	__u64 size_bytes;
	__u32 spare_bytes;     /* what the allocator set aside beyond the size */
	__u32 remaining_pages; /* of a page block: not freed yet */
	__u32 tid;
	__u32 order;
};
TM_STATIC_ASSERT(sizeof(struct tm_kernel_block) == 40);

struct tm_kernel_stack {
	__u32 depth;
	__u32 unused;
	__u64 frames[TM_KERNEL_FRAMES];
};
TM_STATIC_ASSERT(sizeof(struct tm_kernel_stack) == 8 + 8 * TM_KERNEL_FRAMES);

struct tm_kernel_cache {
	__u32 wanted; /* by --cache */
	__u32 object_bytes;
	__u32 size_bytes;
	__u32 unused;
	__u64 old_frees; /* of objects that are not known */
	char name[TM_CACHE_NAME];
};
TM_STATIC_ASSERT(sizeof(struct tm_kernel_cache) == 24 + TM_CACHE_NAME);

/* Both sides know a wanted cache by this number of its name, which ends in zeroes. */
static inline __u64 tm_name_number(const char name[TM_CACHE_NAME])
{
	__u64 number = 0x27d4eb2f165667c5ULL;

	for (unsigned int at = 0; at < TM_CACHE_NAME; at += sizeof(__u64)) {
		__u64 word;

		__builtin_memcpy(&word, name + at, sizeof(word));
		number = (number ^ word) * 0x9e3779b97f4a7c15ULL;
		number ^= number >> 29;
	}
	return number;
}

/* What a page is now, by its struct page. */
enum tm_page_use {
	TM_PAGE_UNKNOWN = 0, /* could not be read */
	TM_PAGE_FREE = 1,
	TM_PAGE_SLAB = 2,
	TM_PAGE_LARGE_KMALLOC = 3,
	TM_PAGE_TABLE = 4,
	TM_PAGE_LRU = 5,
	TM_PAGE_OTHER = 6,
};

struct tm_page_verdict {
	__u64 page;  /* in: struct page *, or the address of a slab object */
	__u64 cache; /* out: of a slab */
	__u32 use;   /* out: enum tm_page_use */
	__u32 unused;
};
TM_STATIC_ASSERT(sizeof(struct tm_page_verdict) == 24);

/* A live slab object that is looked up again. */
struct tm_object_check {
	__u64 address; /* in */
	__u64 slab;    /* out: struct page * of its slab; 0: none, or not known */
	__u64 cache;   /* out: struct kmem_cache * */
};
TM_STATIC_ASSERT(sizeof(struct tm_object_check) == 24);

/* Where a cache keeps free objects: a list that is walked. */
struct tm_free_list {
	__u64 cache;	    /* in: struct kmem_cache * */
	__u64 where;	    /* in: struct page * of a slab, a CPU, or a node */
	__u32 free_objects; /* out: how many lie there */
	__u32 cut;	    /* out: it changed while it was read, or is too long */
};
TM_STATIC_ASSERT(sizeof(struct tm_free_list) == 24);

enum tm_kernel_counter {
#define TM_KERNEL_COUNTER(name, kind, has_bytes, meaning) TM_KERNEL_##name,
#include "kernel_counters.def"
#undef TM_KERNEL_COUNTER
	TM_KERNEL_COUNTER_MAX,
	/* Not losses and not notes: what the page allocator told in all, for the sums. In pages. */
	TM_KERNEL_pages_allocated = TM_KERNEL_COUNTER_MAX,
	TM_KERNEL_pages_freed,
	TM_KERNEL_COUNTER_SLOTS
};

#endif
