/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What growth.bpf.c tells of the growth of resident sets: a row for each process, and samples with
 * the stack that made the process grow.
 */
#ifndef TIDEMARK_ABI_GROWTH_H
#define TIDEMARK_ABI_GROWTH_H

#include "count.h"
#include "heap.h"

/* Processes that have grown, until userspace takes those off that have ended. */
#define TM_GROWTH_PROCESSES 16384

enum tm_growth_counter {
#define TM_GROWTH_COUNTER(name, kind, has_bytes, meaning) TM_GROWTH_##name,
#include "growth_counters.def"
#undef TM_GROWTH_COUNTER
	TM_GROWTH_COUNTER_MAX
};

/* What kind of memory a resident set grows by; memory that is mapped from files is not watched. */
enum tm_growth_kind {
	TM_GROWTH_ANON = 0,
	TM_GROWTH_SHMEM = 1,
	TM_GROWTH_KINDS = 2,
	/* What a process gets of address space to touch later; of samples only. */
	TM_GROWTH_BRK = 2,
	TM_GROWTH_MMAP = 3,
};

/* One address space of a process: `mm` is another one after an exec. */
struct tm_growth_process {
	__u64 mm;			    /* an identity, never followed */
	__u64 started_boot_ns;		    /* of the process: tells a pid that is used again */
	__u64 grown_bytes[TM_GROWTH_KINDS]; /* all growth since, whatever went away meanwhile */
	__u64 events;
	__u64 met_ns;	  /* bpf_ktime_get_ns() */
	__u64 heap_first; /* bytes of the heap (brk) when the process was first met, */
	__u64 heap;	  /* and when it touched memory last */
	__u64 data_first; /* pages of private writable address space, likewise, the heap's too */
	__u64 data;
	__s64 told[TM_GROWTH_KINDS]; /* the kernel's count, in pages, as of the last event */
	__u32 second;		     /* the last one with a sample, and how many it had */
	__u32 samples;
	__u32 is_young; /* it had just been started when it was met */
	__u32 unused;
	char comm[16]; /* of a thread that was met first */
};
TM_STATIC_ASSERT(sizeof(struct tm_growth_process) == 128);

/*
 * A stack that has made its process grow, as it lies in memory. It stands for more: a mark, one in
 * `interval_bytes` of growth on average, fell into its `grown_bytes`.
 */
struct tm_growth_sample {
	__u64 time_ns;
	__u64 started_boot_ns;
	__u64 mm;
	__u64 address; /* that was touched; 0: not known */
	__u64 grown_bytes;
	__u64 interval_bytes;
	__u64 pc; /* 0: there is no stack */
	__u64 sp;
	__u64 fp;
	__u32 tgid;
	__u32 kind;	  /* enum tm_growth_kind */
	__u32 in_syscall; /* else the instruction at `pc` itself touched the memory */
	__u32 size_bytes; /* that could be read, from sp on */
	__u8 bytes[TM_RAW_STACK_BYTES];
};
TM_STATIC_ASSERT(sizeof(struct tm_growth_sample) == 88 + TM_RAW_STACK_BYTES);

#endif
