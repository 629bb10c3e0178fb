// SPDX-License-Identifier: GPL-2.0-only
/*
 * What no tracepoint tells, by kprobes: objects and pages in bulk, kfree_rcu() into sheaves,
 * vmalloc, allocation without locks.
 */
#include "lib/kprobe.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* cache, gfp, count, array */
SEC("?kprobe")
int on_kmem_alloc_bulk(struct pt_regs *ctx)
{
	struct call call = {.caller = word_on_stack(ctx, 0),
			    .first = PT_REGS_PARM1(ctx),
			    .count = PT_REGS_PARM3(ctx),
			    .array = PT_REGS_PARM4(ctx)};

	if (takes_allocations && passes_filter(call.first))
		note_call(ENTRY_FRAME(ctx), &call);
	return 0;
}

SEC("?kretprobe")
int on_kmem_alloc_bulk_return(struct pt_regs *ctx)
{
	struct call call;

	if (take_call(RETURN_FRAME(ctx), &call) && bulk_succeeded(PT_REGS_RC(ctx)))
		objects_born(ctx, &call);
	return 0;
}

/* cache, count, array; the cache is NULL for kfree_bulk() */
SEC("?kprobe")
int on_kmem_free_bulk(struct pt_regs *ctx)
{
	objects_freed(PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx));
	return 0;
}

/* cache, object: true where the object has gone into a sheaf, so that no other event tells it */
SEC("?kprobe")
int on_kfree_rcu_sheaf(struct pt_regs *ctx)
{
	struct call call = {.first = PT_REGS_PARM2(ctx)};

	if (is_counting)
		note_call(ENTRY_FRAME(ctx), &call);
	return 0;
}

SEC("?kretprobe")
int on_kfree_rcu_sheaf_return(struct pt_regs *ctx)
{
	struct call call;

	if (take_call(RETURN_FRAME(ctx), &call) && (u8)PT_REGS_RC(ctx))
		slab_free(call.first);
	return 0;
}

/* size, gfp, node */
SEC("?kprobe")
int on_kmalloc_nolock(struct pt_regs *ctx)
{
	struct call call = {.caller = word_on_stack(ctx, 0), .count = PT_REGS_PARM1(ctx)};

	if (takes_allocations)
		note_call(ENTRY_FRAME(ctx), &call);
	return 0;
}

SEC("?kretprobe")
int on_kmalloc_nolock_return(struct pt_regs *ctx)
{
	struct call call;

	if (take_call(RETURN_FRAME(ctx), &call))
		object_born(ctx, &call, PT_REGS_RC(ctx));
	return 0;
}

/* object */
SEC("?kprobe")
int on_kfree_nolock(struct pt_regs *ctx)
{
	slab_free(PT_REGS_PARM1(ctx));
	return 0;
}

/* size, align, start, end, gfp, prot; on the stack: vm_flags, node, caller */
SEC("?kprobe")
int on_kernel_vmalloc(struct pt_regs *ctx)
{
	struct call call = {.caller = word_on_stack(ctx, 3), .first = PT_REGS_PARM1(ctx)};

	if (takes_allocations)
		vmalloc_begins(ENTRY_FRAME(ctx), &call);
	return 0;
}

SEC("?kretprobe")
int on_kernel_vmalloc_return(struct pt_regs *ctx)
{
	struct call call;

	if (take_call(RETURN_FRAME(ctx), &call))
		vmalloc_ended(ctx, &call, PT_REGS_RC(ctx));
	return 0;
}

/* address */
SEC("?kprobe")
int on_kernel_vfree(struct pt_regs *ctx)
{
	area_freed(PT_REGS_PARM1(ctx));
	return 0;
}

/* gfp, node, nodes, count, (list,) array */
SEC("?kprobe")
int on_pages_bulk(struct pt_regs *ctx)
{
	u64 fifth = PT_REGS_PARM5(ctx), sixth = SIXTH_ARGUMENT(ctx);
	struct call call = {.caller = word_on_stack(ctx, 0),
			    .gfp = PT_REGS_PARM1(ctx),
			    .count = PT_REGS_PARM4(ctx)};

	if (!takes_allocations)
		return 0;
	call.array = pages_bulk_has_list ? sixth : fifth;
	if (call.array)
		note_filled(&call);
	note_call(ENTRY_FRAME(ctx), &call);
	return 0;
}

SEC("?kretprobe")
int on_pages_bulk_return(struct pt_regs *ctx)
{
	struct call call;

	if (take_call(RETURN_FRAME(ctx), &call))
		pages_born(ctx, &call, (u32)PT_REGS_RC(ctx));
	return 0;
}

/* first frame, end, a flag, gfp: 0 where it could */
SEC("?kprobe")
int on_contig(struct pt_regs *ctx)
{
	struct call call = {.caller = word_on_stack(ctx, 0),
			    .first = PT_REGS_PARM1(ctx),
			    .count = PT_REGS_PARM2(ctx),
			    .gfp = PT_REGS_PARM4(ctx)};

	if (takes_allocations)
		note_call(ENTRY_FRAME(ctx), &call);
	return 0;
}

SEC("?kretprobe")
int on_contig_return(struct pt_regs *ctx)
{
	struct call call;

	if (take_call(RETURN_FRAME(ctx), &call) && !(int)PT_REGS_RC(ctx))
		range_born(ctx, &call, call.first, call.count);
	return 0;
}
