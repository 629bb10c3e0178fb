/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps of user-space tracing. Weak, so that several .bpf.c files of one skeleton share them.
 * All are preallocated (a full table is then the only way for an insert to fail, and that is
 * counted); userspace sets max_entries before loading.
 */
#ifndef TIDEMARK_MAPS_BPF_H
#define TIDEMARK_MAPS_BPF_H

#include "compat.bpf.h"
#include "../abi/heap.h"

/* enum tm_gate. Not open until every probe is on, so that no block is seen by a part of the probes
 * only. */
volatile __u32 gate_state __weak = TM_GATE_CLOSED;

/* Generations that BPF gives out by itself (at exec) start behind those that userspace gave. */
volatile __u32 next_generation __weak = 0;

/* How many more raw stacks may be handed over: each takes a call site of its own. */
volatile __u32 raw_stacks_left __weak = 0;

/* Probes are there in windows only: what becomes of each block is told. */
volatile __u32 tells_deaths __weak = 0;

/* Which news are wanted. */
const volatile bool tell_children __weak = false;
const volatile bool tell_execs __weak = false;

/* Every process is traced, and its probes are on before it is born: those of files that had them.
 */
const volatile bool select_all __weak = false;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct tm_block_key);
	__type(value, struct tm_block);
} blocks __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct tm_site_key);
	__type(value, struct tm_site);
} sites __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, struct tm_stack);
} stacks __weak SEC(".maps");

/* mm -> generation, made at the first event of a selected tgid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, u32);
} owners __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct tm_selected);
} selected __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct tm_generation);
} generations __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TM_COUNTER_MAX);
	__type(key, u32);
	__type(value, struct tm_count);
} counters __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TM_MAX_PROBES);
	__type(key, u32);
	__type(value, u64);
} hits __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct tm_rule_key);
	__type(value, struct tm_rule);
} rules __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct tm_text_key);
	__type(value, struct tm_text);
} allocator_text __weak SEC(".maps");

/* Return addresses without a rule, for userspace to look up: struct tm_rule_key. A pc of 0 tells of
 * a new owner. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} rule_requests __weak SEC(".maps");

/* struct tm_raw_stack. What finds no room is walked along the frame pointers. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 23);
} raw_stacks __weak SEC(".maps");

/* struct tm_death, where tells_deaths. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 12);
} deaths __weak SEC(".maps");

/* Processes that came to be: struct tm_news. A lost one is found by the next look at /proc. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} life_news __weak SEC(".maps");

/* Processes (tgid) whose children are wanted, traced or not themselves. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TM_MAX_WATCHED_PARENTS);
	__type(key, u32);
	__type(value, u32);
} watched_parents __weak SEC(".maps");

/* The arguments of USDT probes, by the probe's number. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TM_MAX_USDT_PROBES);
	__type(key, u32);
	__type(value, struct tm_usdt);
} usdt_arguments __weak SEC(".maps");

/* Attach cookies by probe address, for kernels that have none of their own. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct tm_probe_address);
	__type(value, u64);
} cookies_by_address __weak SEC(".maps");

/*
 * Per-CPU slots are not private to a program: uprobe programs run with migration off but preemption
 * on, so another task may run one in between. Hence the atomic additions.
 */
static __always_inline void count_event(enum tm_counter counter, u64 bytes)
{
	u32 index = counter;
	struct tm_count *slot = bpf_map_lookup_elem(&counters, &index);

	if (!slot)
		return;
	__sync_fetch_and_add(&slot->count, 1);
	/* clang makes an atomic "or" of an addition of 0, which kernels have since 5.12. */
	if (bytes)
		__sync_fetch_and_add(&slot->bytes, bytes);
}

/* A struct tm_cookie; all zero, so not valid, where it is not known. */
static __always_inline u64 attach_cookie(struct pt_regs *ctx)
{
	struct tm_probe_address key = {};
	u64 *cookie;

	if (have_attach_cookie)
		return bpf_get_attach_cookie(ctx);
	key.pc = PT_REGS_IP(ctx);
	key.tgid = bpf_get_current_pid_tgid() >> 32;
	cookie = bpf_map_lookup_elem(&cookies_by_address, &key);
	return cookie ? *cookie : 0;
}

static __always_inline void count_hit(u32 probe)
{
	u64 *slot = bpf_map_lookup_elem(&hits, &probe);

	if (slot)
		__sync_fetch_and_add(slot, 1);
}

#endif
