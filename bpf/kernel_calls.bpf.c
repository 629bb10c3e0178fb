// SPDX-License-Identifier: GPL-2.0-only
/*
 * What no tracepoint tells, by kprobes: objects in bulk, kfree_rcu() into sheaves, vmalloc. A call
 * that has a result is noted at its entry and counted at its return.
 */
#include "lib/slab.bpf.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

/* kmem_cache_alloc_bulk() returns a count, and on newest kernels whether it could. */
const volatile bool bulk_returns_bool = false;

/* Objects of one bulk call that are looked at. */
#define BULK_LIMIT 512

/* The stack pointer tells a call from one that an interrupt makes in the middle of it. */
struct call_key {
	u64 sp;
	u64 thread;
};

struct call {
	u64 caller;
	u64 first; /* the argument that matters most: a cache, an object, a size */
	u64 count;
	u64 array;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

static __always_inline u64 word_on_stack(struct pt_regs *ctx, u32 index)
{
	u64 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (void *)(PT_REGS_SP(ctx) + index * sizeof(u64)));
	return word;
}

static __always_inline void note_call(struct pt_regs *ctx, const struct call *call)
{
	struct call_key key = {.sp = PT_REGS_SP(ctx), .thread = bpf_get_current_pid_tgid()};

	if (bpf_map_update_elem(&calls, &key, call, BPF_ANY))
		count_event(TM_KERNEL_calls_full, 0);
}

/* At its return the stack pointer stands behind the return address. */
static __always_inline bool take_call(struct pt_regs *ctx, struct call *call)
{
	struct call_key key = {.sp = PT_REGS_SP(ctx) - sizeof(u64),
			       .thread = bpf_get_current_pid_tgid()};
	struct call *found = bpf_map_lookup_elem(&calls, &key);

	if (!found)
		return false;
	*call = *found;
	bpf_map_delete_elem(&calls, &key);
	return true;
}

static __always_inline u64 object_at(u64 array, u32 index)
{
	u64 object = 0;

	bpf_probe_read_kernel(&object, sizeof(object), (void *)(array + index * sizeof(u64)));
	return object;
}

/* cache, gfp, count, array */
SEC("?kprobe")
int on_kmem_alloc_bulk(struct pt_regs *ctx)
{
	struct call call = {.caller = word_on_stack(ctx, 0),
			    .first = PT_REGS_PARM1(ctx),
			    .count = PT_REGS_PARM3(ctx),
			    .array = PT_REGS_PARM4(ctx)};

	if (takes_allocations && passes_filter(call.first))
		note_call(ctx, &call);
	return 0;
}

SEC("?kretprobe")
int on_kmem_alloc_bulk_return(struct pt_regs *ctx)
{
	struct tm_kernel_place place = {.kind = TM_KERNEL_SLAB};
	u64 result = PT_REGS_RC(ctx), site_id, size, usable;
	struct kmem_cache *cache;
	struct call call;

	if (!take_call(ctx, &call) || !(bulk_returns_bool ? (u8)result : (u32)result))
		return 0;
	place.call_site = call.caller;
	place.cache = call.first;
	cache = (void *)call.first;
	size = BPF_CORE_READ(cache, object_size);
	usable = BPF_CORE_READ(cache, size);
	if (!find_site(&place, stack_for(ctx, &place), &site_id)) {
		count_event(TM_KERNEL_sites_full, call.count * size);
		return 0;
	}
	for (u32 i = 0; i < BULK_LIMIT; i++) {
		if (i >= call.count)
			return 0;
		insert_one_of_many(object_at(call.array, i), site_id, size, usable);
	}
	count_event(TM_KERNEL_bulk_cut, 0);
	return 0;
}

/* cache, count, array; the cache is NULL for kfree_bulk() */
SEC("?kprobe")
int on_kmem_free_bulk(struct pt_regs *ctx)
{
	u64 count = PT_REGS_PARM2(ctx), array = PT_REGS_PARM3(ctx);

	for (u32 i = 0; i < BULK_LIMIT; i++) {
		if (i >= count)
			return 0;
		free_one_of_many(object_at(array, i));
	}
	count_event(TM_KERNEL_bulk_cut, 0);
	return 0;
}

/* cache, object: true where the object has gone into a sheaf, so that no other event tells it */
SEC("?kprobe")
int on_kfree_rcu_sheaf(struct pt_regs *ctx)
{
	struct call call = {.first = PT_REGS_PARM2(ctx)};

	if (is_counting)
		note_call(ctx, &call);
	return 0;
}

SEC("?kretprobe")
int on_kfree_rcu_sheaf_return(struct pt_regs *ctx)
{
	struct call call;

	if (take_call(ctx, &call) && (u8)PT_REGS_RC(ctx))
		slab_free(call.first);
	return 0;
}

/* size, align, start, end, gfp, prot; on the stack: vm_flags, node, caller */
SEC("?kprobe")
int on_kernel_vmalloc(struct pt_regs *ctx)
{
	struct call call = {.caller = word_on_stack(ctx, 3), .first = PT_REGS_PARM1(ctx)};
	u64 thread = bpf_get_current_pid_tgid();
	u32 one = 1;

	if (!takes_allocations)
		return 0;
	note_call(ctx, &call);
	if (bpf_map_update_elem(&inside_vmalloc, &thread, &one, BPF_ANY))
		count_event(TM_KERNEL_calls_full, 0);
	return 0;
}

SEC("?kretprobe")
int on_kernel_vmalloc_return(struct pt_regs *ctx)
{
	struct tm_kernel_place place = {.kind = TM_KERNEL_VMALLOC};
	struct new_block born = {.address = PT_REGS_RC(ctx)};
	u64 thread = bpf_get_current_pid_tgid();
	struct call call;

	if (!take_call(ctx, &call))
		return 0;
	bpf_map_delete_elem(&inside_vmalloc, &thread);
	if (!born.address) {
		count_event(TM_KERNEL_failed_allocations, 0);
		return 0;
	}
	place.call_site = call.caller;
	born.size_bytes = call.first;
	born.usable_bytes = (call.first + (1UL << PAGE_BYTES_SHIFT) - 1) >>
			    PAGE_BYTES_SHIFT << PAGE_BYTES_SHIFT;
	track_alloc(ctx, &vmalloc_blocks, &place, &born);
	return 0;
}

/* address; areas of vmap and ioremap end here too, and are none of ours */
SEC("?kprobe")
int on_kernel_vfree(struct pt_regs *ctx)
{
	u64 address = PT_REGS_PARM1(ctx);

	if (is_counting && bpf_map_lookup_elem(&vmalloc_blocks, &address))
		track_free(&vmalloc_blocks, address);
	return 0;
}
