/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernels in open files, sockets and rings, one accessor each. Presence is
 * asked of the running kernel's types, never its version.
 */
#ifndef TIDEMARK_FILES_COMPAT_BPF_H
#define TIDEMARK_FILES_COMPAT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* One page until 5.18 or so, two since; the accessor takes either. */
struct pipe_inode_info___spare {
	struct page *tmp_page;
};

/*
 * dfbbfbf19187 "io_uring: introduce concept of memory regions" and its followers, Linux 6.14: rings
 * are regions. Before, their size follows from the numbers of entries.
 */
struct io_mapped_region___any {
	unsigned int nr_pages;
	unsigned int flags;
};
struct io_ring_ctx___regions {
	struct io_mapped_region___any sq_region;
	struct io_mapped_region___any ring_region;
};

/*
 * 51132b99f01c "udp: add drop_counters to udp socket" and its like for raw sockets, Linux 6.18: two
 * counters beside the old one.
 */
struct numa_drop_counters___any {
	atomic_t drops0;
	atomic_t drops1;
};
struct sock___drops {
	struct numa_drop_counters___any *sk_drop_counters;
};

/* 317460317a02 "bpf: Introduce bpf_arena", Linux 6.9; free ranges are a tree since 6.13. */
struct range_tree___any {
	struct rb_root_cached it_root;
};
struct bpf_arena___any {
	struct bpf_map map;
	struct range_tree___any rt;
};
struct range_node___any {
	struct rb_node rn_rbnode;
	u32 rn_start;
	u32 rn_last;
};

/* 3a7b35b899de "bpf: Introduce task_vma bpf_iter", Linux 5.12. */
struct bpf_iter__task_vma {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct vm_area_struct *vma;
};

#pragma clang attribute pop

#define IO_REGION_USER_PROVIDED 2 /* IO_REGION_F_USER_PROVIDED, io_uring/memmap.c */

static __always_inline u64 pipe_spare_pages(struct pipe_inode_info *pipe)
{
	struct pipe_inode_info___spare *spare = (void *)pipe;
	u64 pages[2] = {};

	if (!bpf_core_field_exists(spare->tmp_page))
		return 0;
	if (bpf_core_field_size(spare->tmp_page) >= sizeof(pages))
		bpf_probe_read_kernel(pages, sizeof(pages), (void *)&spare->tmp_page);
	else
		bpf_probe_read_kernel(pages, sizeof(pages[0]), (void *)&spare->tmp_page);
	return !!pages[0] + !!pages[1];
}

static __always_inline u64 pages_of_region(struct io_mapped_region___any *region)
{
	if (BPF_CORE_READ(region, flags) & IO_REGION_USER_PROVIDED)
		return 0;
	return BPF_CORE_READ(region, nr_pages);
}

static __always_inline bool io_uring_region_pages(struct io_ring_ctx *ring, u64 *pages)
{
	struct io_ring_ctx___regions *regions = (void *)ring;

	if (!bpf_core_field_exists(regions->ring_region))
		return false;
	*pages = pages_of_region(&regions->ring_region) + pages_of_region(&regions->sq_region);
	return true;
}

static __always_inline u32 socket_drops(struct sock *sk)
{
	struct sock___drops *split = (void *)sk;
	struct numa_drop_counters___any *counters = NULL;
	u32 drops = 0;

	if (bpf_core_field_exists(sk->sk_drops))
		drops = BPF_CORE_READ(sk, sk_drops.counter);
	if (!bpf_core_field_exists(split->sk_drop_counters))
		return drops;
	counters = BPF_CORE_READ(split, sk_drop_counters);
	if (counters)
		drops += BPF_CORE_READ(counters, drops0.counter) +
			 BPF_CORE_READ(counters, drops1.counter);
	return drops;
}

#endif
