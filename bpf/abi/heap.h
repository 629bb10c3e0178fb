/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The records of heap tracing, as both sides see them. Fixed layout, explicit padding, 8-byte
 * fields first.
 *
 *   blocks { address, owner, space } -> { size, birth, site key } ─┐
 *   sites  { stack id, owner, kind, allocator } <──────────────────┘ -> totals
 *   stacks { stack id } -> frames
 */
#ifndef TIDEMARK_ABI_HEAP_H
#define TIDEMARK_ABI_HEAP_H

#include <linux/types.h>

#include "count.h"

/* Frames kept of a stack, innermost first. */
#define TM_STACK_DEPTH 127
/* How far one frame of a stack may lie from the last: larger ones are taken for nonsense. */
#define TM_FRAME_SPAN_LIMIT (8UL << 20)
/* Probes of one run: the low bits of the attach cookie index the hit counters. */
#define TM_MAX_PROBES 16384

/* Processes whose children can be asked for. */
#define TM_MAX_WATCHED_PARENTS 256

enum tm_space { TM_SPACE_HEAP = 0 };

/*
 * Set in tm_cookie.allocator and tm_site_key.allocator where the call says more than a size (an
 * alignment, flags): its blocks' room does not follow from their size.
 */
#define TM_ALLOCATOR_ALIGNED 0x8000

/* The order of model::Kind. */
enum tm_kind { TM_KIND_HEAP = 0 };

/* How a walk ended. */
enum tm_stack_end {
	TM_STACK_BOTTOM = 0,
	TM_STACK_BROKEN = 1,
	TM_STACK_DEPTH_LIMIT = 2,
	TM_STACK_GUESSED = 3, /* broken, and a rule was not known yet on the way */
};

struct tm_block_key {
	__u64 address;
	__u32 owner;
	__u32 space;
};
TM_STATIC_ASSERT(sizeof(struct tm_block_key) == 16);

struct tm_site_key {
	__u64 stack_id; /* 0: the stack was lost */
	__u32 owner;
	__u16 kind;
	__u16 allocator;
};
TM_STATIC_ASSERT(sizeof(struct tm_site_key) == 16);

/*
 * A block is sampled with probability p = 1 - e^(-size/interval) and stands for 1/p blocks then.
 * The site's totals count it with that weight, and its free takes the same off again.
 */
struct tm_block {
	__u64 size_bytes;
	__u64 birth_ns; /* bpf_ktime_get_ns(); a realloc keeps it */
	struct tm_site_key site;
	__u32 interval_bytes; /* 0: not sampled, it stands for itself */
	__u32 unused;
};
TM_STATIC_ASSERT(sizeof(struct tm_block) == 40);

/* Sampling intervals, and the binary places of the counts in struct tm_site where we sample. */
#define TM_LEAST_INTERVAL_BYTES (1U << 10)
#define TM_MOST_INTERVAL_BYTES	(64U << 20)
#define TM_COUNT_PLACES		16

/* live = total - freed. In this order: a copy made while they change has freed <= total. */
struct tm_site {
	__u64 freed_bytes;
	__u64 freed_count;
	__u64 total_bytes;
	__u64 total_count;
};
TM_STATIC_ASSERT(sizeof(struct tm_site) == 32);

struct tm_stack {
	__u32 depth;
	__u32 end; /* enum tm_stack_end */
	__u64 frames[TM_STACK_DEPTH];
};
TM_STATIC_ASSERT(sizeof(struct tm_stack) == 8 + 8 * TM_STACK_DEPTH);

/* Bytes of a stack that are handed to userspace, in parts: 8192 + 4096 + ... + 128; less of those
 * that are known to be shorter. */
#define TM_RAW_STACK_BYTES     16256
#define TM_RAW_STACK_LARGE     8064
#define TM_RAW_STACK_MEDIUM    3968
#define TM_RAW_STACK_SMALL     896
#define TM_RAW_STACK_LAST_PART 128

/*
 * A stack that BPF could not walk yet, because the rule of one of its frames was not known: where
 * the walk begins, and what lies above. Userspace walks it and knows it by `id` from then on.
 * A record ends where its room does, behind one of the sizes above.
 */
struct tm_raw_stack {
	__u64 id;
	__u64 pc;
	__u64 sp;
	__u64 fp;
	__u32 owner;
	__u32 size_bytes; /* that could be read, from sp on */
	__u8 bytes[TM_RAW_STACK_BYTES];
};
#define TM_RAW_STACK_HEAD 40
TM_STATIC_ASSERT(sizeof(struct tm_raw_stack) == TM_RAW_STACK_HEAD + TM_RAW_STACK_BYTES);

enum tm_cookie_flags {
	TM_COOKIE_VALID = 1, /* always set */
	TM_COOKIE_BARE = 2,  /* no return probe, the function's return instructions are probed */
};

/* Registers that a compiler moves an argument to, in the order of the x86-64 encoding, plus one. */
enum tm_register {
	TM_REGISTER_USUAL = 0,
	TM_REGISTER_AX,
	TM_REGISTER_CX,
	TM_REGISTER_DX,
	TM_REGISTER_BX,
	TM_REGISTER_SP, /* never */
	TM_REGISTER_BP, /* never: the caller's frame pointer has to be there */
	TM_REGISTER_SI,
	TM_REGISTER_DI,
	TM_REGISTER_8,
	TM_REGISTER_9,
	TM_REGISTER_10,
	TM_REGISTER_11,
};

/*
 * The attach cookie of an entry probe. stack_words: how many 8-byte words lie between the stack
 * pointer at the site and the slot that holds the return address.
 */
struct tm_cookie {
	__u16 probe;
	__u16 allocator;
	__u8 stack_words;
	__u8 flags; /* TM_COOKIE_* */
	/* Where the first three arguments are at the site, 4 bits each, the first one's lowest:
	 * 0 is the register of the calling convention, others are enum tm_register. */
	__u16 argument_registers;
};
TM_STATIC_ASSERT(sizeof(struct tm_cookie) == 8);

/* A tgid that was asked for. `mm` is 0 until its first event. */
struct tm_selected {
	__u64 mm;
	__u32 generation;
	__u32 unused;
};
TM_STATIC_ASSERT(sizeof(struct tm_selected) == 16);

/*
 * How to get from a return address to its caller's frame, learned from the binary's .eh_frame when
 * the address is first met: CFA = base + cfa_offset, the return address lies below the CFA.
 */
enum tm_rule_kind {
	TM_RULE_PENDING = 0, /* asked for; until then the frame pointer is tried */
	TM_RULE_CHAIN = 1,   /* no unwind data: the frame pointer has to serve */
	TM_RULE_SP = 2,	     /* base is the stack pointer */
	TM_RULE_FP = 3,	     /* base is the frame pointer */
	TM_RULE_BOTTOM = 4,  /* nothing called this */
	TM_RULE_NONE =
		5, /* no code, or a rule that the walk can't carry out: the stack is cut here */
	TM_RULE_DEREF_SP = 6, /* base lies in memory, at the stack pointer plus cfa_offset */
	TM_RULE_DEREF_FP = 7, /* base lies in memory, at the frame pointer plus cfa_offset */
	TM_RULE_SIGNAL = 8,   /* the kernel made this frame for a signal handler */
};

/* Where the caller's frame pointer is. */
enum tm_saved_fp {
	TM_FP_SAME = 0,	  /* in its register still */
	TM_FP_AT_CFA = 1, /* in memory, fp_offset from the CFA */
	TM_FP_AT_FP = 2,  /* in memory, fp_offset from the frame pointer */
	TM_FP_LOST = 3,	  /* where no rule can say; taken for 0 */
};

/* Registers in struct rt_sigframe, from the stack pointer that a signal handler returns to. */
#define TM_SIGNAL_FP 120
#define TM_SIGNAL_SP 160
#define TM_SIGNAL_PC 168

struct tm_rule_key {
	__u64 pc;
	__u32 owner;
	__u32 unused;
};
TM_STATIC_ASSERT(sizeof(struct tm_rule_key) == 16);

struct tm_rule {
	__s32 cfa_offset;
	__s32 fp_offset;
	__u8 kind;	/* enum tm_rule_kind */
	__u8 saved_fp;	/* enum tm_saved_fp */
	__u8 cfa_added; /* to what TM_RULE_DEREF_* read */
	__u8 unused[5];
};
TM_STATIC_ASSERT(sizeof(struct tm_rule) == 16);

/* Where an argument of a USDT probe lies when the probe is hit. */
enum tm_place {
	TM_PLACE_CONSTANT = 0, /* it is `value` */
	TM_PLACE_REGISTER = 1,
	TM_PLACE_MEMORY = 2, /* at a register plus `value` */
};

struct tm_usdt_argument {
	__s64 value;
	__u16 register_offset; /* in struct pt_regs */
	__u8 place;	       /* enum tm_place */
	__u8 size_bytes;
	__u8 is_signed;
	__u8 unused[3];
};
TM_STATIC_ASSERT(sizeof(struct tm_usdt_argument) == 16);

#define TM_USDT_ARGUMENTS  3
#define TM_MAX_USDT_PROBES 1024
struct tm_usdt {
	struct tm_usdt_argument arguments[TM_USDT_ARGUMENTS];
};
TM_STATIC_ASSERT(sizeof(struct tm_usdt) == 48);

/* The key of the attach cookie where the kernel has none: a probe's address in a process. */
struct tm_probe_address {
	__u64 pc;
	__u32 tgid;
	__u32 unused;
};
TM_STATIC_ASSERT(sizeof(struct tm_probe_address) == 16);

/* gate_state */
enum tm_gate {
	TM_GATE_CLOSED = 0,
	TM_GATE_LEARNING =
		1, /* stacks are walked so that their rules are known, nothing is counted */
	TM_GATE_OPEN = 2,
	TM_GATE_DRAINING = 3, /* calls that are under way and frees are counted, no new calls */
};

/*
 * Where the code of a probe's library lies in an owner's memory: what is called from there is the
 * allocator's own doing. A library may hold other code than the allocator's (libc.so has strdup):
 * `own` is the part that is nothing but the allocator.
 */
struct tm_text_key {
	__u32 owner;
	__u32 probe;
};
TM_STATIC_ASSERT(sizeof(struct tm_text_key) == 8);

struct tm_text {
	__u64 start;
	__u64 end;
	__u64 own_start;
	__u64 own_end;
};
TM_STATIC_ASSERT(sizeof(struct tm_text) == 32);

enum tm_life { TM_LIFE_RUNNING = 0, TM_LIFE_EXITED = 1, TM_LIFE_EXECED = 2 };

/* A process that a group may want, told to userspace through the ring buffer `life_news`. */
enum tm_news_kind {
	TM_NEWS_CHILD = 0, /* born of one that is traced or whose children are wanted */
	TM_NEWS_EXEC = 1,  /* has become another program */
};

struct tm_news {
	__u32 tgid;
	__u32 kind; /* enum tm_news_kind */
};
TM_STATIC_ASSERT(sizeof(struct tm_news) == 8);

/* A block that is gone, told where not all frees are seen. */
enum tm_death_kind {
	TM_DEATH_FREED = 0,    /* now, or another block at its address was */
	TM_DEATH_REPLACED = 1, /* its address was given out again */
};

struct tm_death {
	struct tm_site_key site;
	__u64 address;
	__u64 size_bytes;
	__u64 birth_ns;
	__u64 death_ns;
	__u32 interval_bytes;
	__u32 kind; /* enum tm_death_kind */
};
TM_STATIC_ASSERT(sizeof(struct tm_death) == 56);

/* What became of a generation. */
struct tm_generation {
	__u64 ended_ns;
	__u32 tgid;
	__u32 life;	 /* enum tm_life */
	__u32 exit_code; /* as wait(2) has it; valid if life is TM_LIFE_EXITED */
	__u32 by_thread; /* born by an exec of another thread than the leader: its probes are gone
			  */
	__u32 parent;	 /* the generation that it is a copy of (fork), 0 if it is none */
	__u32 by_exec;
};
TM_STATIC_ASSERT(sizeof(struct tm_generation) == 32);

enum tm_counter {
#define TM_COUNTER(name, kind, has_bytes, meaning) TM_COUNTER_##name,
#include "counters.def"
#undef TM_COUNTER
	TM_COUNTER_MAX
};

#endif
