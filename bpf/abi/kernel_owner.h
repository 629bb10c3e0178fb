/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Whose a live block of kernel memory is: asked by userspace for many addresses at a time, answered
 * by the program look_at_owners.
 */
#ifndef TIDEMARK_ABI_KERNEL_OWNER_H
#define TIDEMARK_ABI_KERNEL_OWNER_H

#include <linux/types.h>

#include "count.h"

#define TM_OWNER_BATCH 256
#define TM_CGROUP_NAME 64
#define TM_DEVICE_NAME 16 /* IFNAMSIZ */

enum tm_owned {
	TM_OWNED_PAGE = 0,   /* address: the struct page */
	TM_OWNED_OBJECT = 1, /* address: of a slab object */
	TM_OWNED_SKB = 2,    /* the same, of a struct sk_buff */
};

struct tm_owner {
	__u64 address;	   /* in */
	__u64 cgroup;	   /* out: inode number of the directory; 0: charged to none */
	__u32 owned;	   /* in: enum tm_owned */
	__u16 protocol;	   /* out, of an skb: an ethernet type, in network order */
	__u16 is_readable; /* out: 0 where the block could not be looked at */
	char cgroup_name[TM_CGROUP_NAME]; /* out: the last part of its path */
	char device[TM_DEVICE_NAME];	  /* out, of an skb: a network device */
};
TM_STATIC_ASSERT(sizeof(struct tm_owner) == 24 + TM_CGROUP_NAME + TM_DEVICE_NAME);

#endif
