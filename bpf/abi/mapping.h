/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What BPF tells of system calls that change a target's mappings, in the order in which they took
 * effect; userspace keeps the intervals. What gives memory back is told when it is entered (another
 * thread may be given the place before the call returns) and taken back if it fails; what makes
 * memory is told when it returns.
 */
#ifndef TIDEMARK_ABI_MAPPING_H
#define TIDEMARK_ABI_MAPPING_H

#include "heap.h"

enum tm_mapping_op {
	TM_MAPPING_MAPPED = 0,	 /* mmap: start, length, flags */
	TM_MAPPING_UNMAP = 1,	 /* munmap: start, length */
	TM_MAPPING_REMAP = 2,	 /* mremap begins: old_start, old_length */
	TM_MAPPING_REMAPPED = 3, /* ... and is done: start, length, flags; old_length */
	TM_MAPPING_BREAK = 4,	 /* brk begins: start is asked for, old_start is now */
	TM_MAPPING_BROKE = 5,	 /* ... and is done: start is the break */
	TM_MAPPING_ATTACHED = 6, /* shmat: start, length (0: not known) */
	TM_MAPPING_DETACH = 7,	 /* shmdt: start */
	TM_MAPPING_UNDO = 8,	 /* the thread's UNMAP, REMAP or DETACH has failed */
	TM_MAPPING_STACK = 9,	 /* clone: start is in the new task's stack; flags */
};

/* What comes behind a record. */
enum tm_mapping_detail {
	TM_MAPPING_PLAIN = 0,
	TM_MAPPING_WITH_STACK = 1,  /* struct tm_stack, as far as it is filled */
	TM_MAPPING_WITH_SAMPLE = 2, /* struct tm_sample_head, then whole chunks of the stack */
};

struct tm_mapping_record {
	__u64 time_ns; /* bpf_ktime_get_ns() */
	__u64 start;
	__u64 length;
	__u64 old_start;
	__u64 old_length;
	__u64 flags; /* of mmap(2), mremap(2), clone(2) */
	__u64 pc; /* behind the system call instruction, as sp and fp with a stack or sample only */
	__u64 sp;
	__u64 fp;
	/* Where an allocator's call returns to that this one may be a part of, its return not being
	 * seen: if the stack has that, it is. 0: there is none. */
	__u64 quiet_caller;
	__u32 owner;
	__u32 tid;
	__u16 op;     /* enum tm_mapping_op */
	__u8 detail;  /* enum tm_mapping_detail */
	__u8 backing; /* made inside a call of an allocator whose blocks are counted */
	__u8 unused[4];
};
TM_STATIC_ASSERT(sizeof(struct tm_mapping_record) == 96);

/*
 * The inner end of the stack itself, for userspace to walk, where a rule of the walk was wanting.
 * Begins at or below sp. Chunks do not cross pages.
 */
#define TM_SAMPLE_CHUNK	 1024
#define TM_SAMPLE_CHUNKS 16

struct tm_sample_head {
	__u64 start;
	__u64 size_bytes; /* of what could be read */
};
TM_STATIC_ASSERT(sizeof(struct tm_sample_head) == 16);

#endif
