// SPDX-License-Identifier: GPL-2.0-only
/*
 * What tracepoints tell, by kprobes, for kernels where tracepoints cannot be had: objects, kmalloc,
 * pages. The call site is the caller of the function, also where the function is told another.
 */
#include "lib/kprobe.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* free_unref_page() has come to be told the order. */
const volatile bool page_free_tells_order = true;

static __always_inline void note_object(struct pt_regs *ctx, u64 cache, u64 size)
{
	struct call call = {.caller = word_on_stack(ctx, 0), .first = cache, .count = size};

	if (takes_allocations && (!cache || passes_filter(cache)))
		note_call(ENTRY_FRAME(ctx), &call);
}

/* cache, ... */
SEC("?kprobe")
int probe_cache_alloc(struct pt_regs *ctx)
{
	note_object(ctx, PT_REGS_PARM1(ctx), 0);
	return 0;
}

/* cache, gfp, size */
SEC("?kprobe")
int probe_kmalloc_cache(struct pt_regs *ctx)
{
	note_object(ctx, PT_REGS_PARM1(ctx), PT_REGS_PARM3(ctx));
	return 0;
}

/* cache, gfp, node, size */
SEC("?kprobe")
int probe_kmalloc_cache_node(struct pt_regs *ctx)
{
	note_object(ctx, PT_REGS_PARM1(ctx), PT_REGS_PARM4(ctx));
	return 0;
}

/* size, ... */
SEC("?kprobe")
int probe_kmalloc(struct pt_regs *ctx)
{
	note_object(ctx, 0, PT_REGS_PARM1(ctx));
	return 0;
}

/* Of all of these. */
SEC("?kretprobe")
int probe_object_return(struct pt_regs *ctx)
{
	u64 address = PT_REGS_RC(ctx);
	struct call call;

	/* kmalloc(0) returns what is no address and no failure. */
	if (take_call(RETURN_FRAME(ctx), &call) && (!address || address >= LOWEST_ADDRESS))
		object_born(ctx, &call, address);
	return 0;
}

/* object */
SEC("?kprobe")
int probe_kfree(struct pt_regs *ctx)
{
	slab_free(PT_REGS_PARM1(ctx));
	return 0;
}

/* cache, object */
SEC("?kprobe")
int probe_cache_free(struct pt_regs *ctx)
{
	slab_free(PT_REGS_PARM2(ctx));
	return 0;
}

/* gfp, order, ... */
SEC("?kprobe")
int probe_pages(struct pt_regs *ctx)
{
	struct call call = {.caller = word_on_stack(ctx, 0),
			    .gfp = PT_REGS_PARM1(ctx),
			    .count = (u32)PT_REGS_PARM2(ctx)};

	if (takes_allocations)
		note_call(ENTRY_FRAME(ctx), &call);
	return 0;
}

SEC("?kretprobe")
int probe_pages_return(struct pt_regs *ctx)
{
	struct call call;

	if (take_call(RETURN_FRAME(ctx), &call))
		page_born(ctx, PT_REGS_RC(ctx), call.count, call.gfp, call.caller);
	return 0;
}

/* page, order */
SEC("?kprobe")
int probe_page_free(struct pt_regs *ctx)
{
	u32 order = PT_REGS_PARM2(ctx);

	page_freed(PT_REGS_PARM1(ctx), page_free_tells_order ? order : 0);
	return 0;
}

/* page, order, always */
SEC("?kprobe")
int probe_pages_free(struct pt_regs *ctx)
{
	page_freed(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx));
	return 0;
}

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct page___lru {
	struct list_head lru;
};
struct folio_batch___any {
	unsigned char nr;
	struct page *folios[1];
};
struct folio___order {
	unsigned long _flags_1;
};
enum pageflags___head {
	PG_head___any = 1,
};
#pragma clang attribute pop

/* a list of single pages */
SEC("?kprobe")
int probe_page_list_free(struct pt_regs *ctx)
{
	u64 head = PT_REGS_PARM1(ctx), entry = word_at(head, 0);

	for (u32 i = 0; i < BULK_LIMIT; i++) {
		if (!entry || entry == head)
			return 0;
		free_page_of_many(entry - bpf_core_field_offset(struct page___lru, lru), 0);
		entry = word_at(entry, 0);
	}
	count_event(TM_KERNEL_bulk_cut, 0);
	return 0;
}

static __always_inline u32 order_of(u64 page)
{
	struct folio___order *folio = (void *)page;

	if (!bpf_core_field_exists(folio->_flags_1) ||
	    !bpf_core_enum_value_exists(enum pageflags___head, PG_head___any))
		return 0;
	if (!(page_flags(page) & 1UL << bpf_core_enum_value(enum pageflags___head, PG_head___any)))
		return 0;
	return BPF_CORE_READ(folio, _flags_1) & 0xff;
}

/* a batch of folios */
SEC("?kprobe")
int probe_folios_free(struct pt_regs *ctx)
{
	struct folio_batch___any *batch = (void *)PT_REGS_PARM1(ctx);
	u32 count;
	u64 folios;

	if (!bpf_core_type_exists(struct folio_batch___any))
		return 0;
	count = BPF_CORE_READ(batch, nr);
	folios = (u64)batch + bpf_core_field_offset(struct folio_batch___any, folios);
	for (u32 i = 0; i < 32; i++) {
		u64 page = i < count ? word_at(folios, i) : 0;

		if (!page)
			return 0;
		free_page_of_many(page, order_of(page));
	}
	return 0;
}
