// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whose live blocks are: run by userspace when it makes a report, never attached. What is read may
 * be freed meanwhile; then the answer is of no block that is reported as live, or is wrong for one
 * report.
 */
#include "lib/objcg.bpf.h"
#include "abi/kernel_owner.h"

char LICENSE[] SEC("license") = "GPL";

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct net_device___any {
	char name[TM_DEVICE_NAME];
};
struct sk_buff___any {
	struct net_device___any *dev;
	__be16 protocol;
};
#pragma clang attribute pop

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TM_OWNER_BATCH);
	__type(key, u32);
	__type(value, struct tm_owner);
} owners SEC(".maps");

/* No address of the kernel is smaller: queues of UDP keep numbers where skb->dev is. */
#define LOWEST_KERNEL_ADDRESS 0xffff000000000000UL

static __always_inline void read_skb(struct tm_owner *owner)
{
	struct sk_buff___any *skb = (void *)owner->address;
	struct net_device___any *device = BPF_CORE_READ(skb, dev);

	owner->protocol = BPF_CORE_READ(skb, protocol);
	if ((u64)device >= LOWEST_KERNEL_ADDRESS)
		bpf_probe_read_kernel_str(owner->device, sizeof(owner->device), device->name);
}

/* A global function is verified once, and not in each round of the loop. */
__weak __noinline int look_at_owner(u32 index)
{
	struct tm_owner *owner = bpf_map_lookup_elem(&owners, &index);
	struct kernfs_node___any *node;
	struct mem_cgroup___any *memcg;

	if (!owner || !owner->address)
		return 0;
	if (owner->owned != TM_OWNED_PAGE && !page_of(owner->address))
		return 0;
	owner->is_readable = 1;
	memcg = (void *)(owner->owned == TM_OWNED_PAGE ? memcg_of_page(head_of(owner->address))
						       : memcg_of_object(owner->address));
	node = memcg ? BPF_CORE_READ(memcg, css.cgroup, kn) : NULL;
	if (node) {
		owner->cgroup = BPF_CORE_READ(node, id);
		bpf_probe_read_kernel_str(owner->cgroup_name, sizeof(owner->cgroup_name),
					  BPF_CORE_READ(node, name));
	}
	if (owner->owned == TM_OWNED_SKB)
		read_skb(owner);
	return 0;
}

/* args: how many are asked for */
SEC("?raw_tp/mm_page_free")
int look_at_owners(struct bpf_raw_tracepoint_args *ctx)
{
	u64 count = ctx->args[0];

	for (u32 i = 0; i < TM_OWNER_BATCH; i++) {
		if (i >= count)
			break;
		look_at_owner(i);
	}
	return 0;
}
