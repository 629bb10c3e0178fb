/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Allocations that the target itself tells of, by the probes of OpenTelemetry's memory contract:
 * otel_memory:alloc(address, size, weight) for one of several allocations, whose bytes `weight`
 * stands for, and otel_memory:free(address) for the blocks that it told of. What another probe has
 * counted is not counted again: the probe may be hit inside of malloc, or in a function around it
 * that gives out a part of malloc's block.
 */
#ifndef TIDEMARK_USDT_BPF_H
#define TIDEMARK_USDT_BPF_H

#include "track.bpf.h"

static __always_inline u64 usdt_argument(struct pt_regs *ctx, const struct tm_usdt_argument *spec)
{
	u32 unused_bits = 64 - 8 * (spec->size_bytes & 15);
	u64 value = spec->value, from = 0;

	if (spec->place != TM_PLACE_CONSTANT) {
		bpf_probe_read_kernel(&from, sizeof(from), (void *)ctx + spec->register_offset);
		value = from;
	}
	if (spec->place == TM_PLACE_MEMORY &&
	    bpf_probe_read_user(&value, sizeof(value), (void *)(from + spec->value)))
		return 0;
	value <<= unused_bits & 63;
	return spec->is_signed ? (u64)((s64)value >> (unused_bits & 63))
			       : value >> (unused_bits & 63);
}

/* The block that another probe has for this address, which may lie inside of it. */
static __always_inline bool is_counted_already(const struct thread_state *thread, u32 owner,
					       u64 address)
{
	struct tm_block_key key = {.address = address, .owner = owner, .space = TM_SPACE_HEAP};

	if (bpf_map_lookup_elem(&blocks, &key))
		return true;
	key.address = thread->last_given;
	return address - thread->last_given < thread->last_given_size &&
	       bpf_map_lookup_elem(&blocks, &key);
}

static __always_inline int track_usdt_alloc(struct pt_regs *ctx, u64 raw_cookie)
{
	union cookie cookie = {.raw = raw_cookie};
	u32 probe = cookie.fields.probe, owner = current_owner();
	struct position start = {};
	struct thread_state *thread;
	struct tm_usdt *usdt;
	u64 address;

	if (!owner || gate_state == TM_GATE_DRAINING || !known_probe(cookie.fields))
		return 0;
	usdt = bpf_map_lookup_elem(&usdt_arguments, &probe);
	thread = running_thread(true);
	if (!usdt || !thread) {
		count_event(TM_COUNTER_threads_full, 0);
		return 0;
	}
	start.sp = USER_SP(ctx);
	start.fp = USER_FP(ctx);
	start.pc = PT_REGS_IP(ctx) + 1; /* as if the probe's nop were a call */
	if (thread->sp) {
		if (still_pending(thread, start.sp, probe))
			return 0;
		abandon_call(thread);
	}
	address = usdt_argument(ctx, &usdt->arguments[0]);
	if (!address || is_counted_already(thread, owner, address))
		return 0;
	thread->size = usdt_argument(ctx, &usdt->arguments[2]);
	if (!find_call_site(thread, &start, owner, cookie.fields.allocator))
		return 0;
	count_event(TM_COUNTER_told_allocations, thread->size);
	return record_block(thread, address, bpf_ktime_get_ns());
}

/* A block that is another allocator's is freed by that one, and seen there. */
static __always_inline int track_usdt_free(struct pt_regs *ctx, u64 raw_cookie)
{
	union cookie cookie = {.raw = raw_cookie};
	struct tm_block_key key = {.owner = current_owner(), .space = TM_SPACE_HEAP};
	u32 probe = cookie.fields.probe;
	struct tm_block *block;
	struct tm_usdt *usdt;

	if (!key.owner || gate_state == TM_GATE_LEARNING || !known_probe(cookie.fields))
		return 0;
	usdt = bpf_map_lookup_elem(&usdt_arguments, &probe);
	if (!usdt)
		return 0;
	key.address = usdt_argument(ctx, &usdt->arguments[0]);
	block = bpf_map_lookup_elem(&blocks, &key);
	if (block && block->site.allocator == cookie.fields.allocator)
		free_block(key.owner, key.address);
	return 0;
}

#endif
