/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is kept for each thread: the allocator call that it is in, and the room in which its stack
 * is put together (per-CPU room would not do: uprobe programs run preemptible).
 */
#ifndef TIDEMARK_THREAD_BPF_H
#define TIDEMARK_THREAD_BPF_H

#include "maps.bpf.h"
#include "../abi/mapping.h"

/* Where a call leaves the address of the new block. */
enum call_shape {
	SHAPE_RESULT = 0,   /* in the result, NULL on failure */
	SHAPE_REALLOC = 1,  /* the same; on failure the old block stays, but size 0 frees it */
	SHAPE_MEMPTR = 2,   /* behind the first argument; the result is an error code */
	SHAPE_REALLOCF = 3, /* as SHAPE_REALLOC, but on failure the old block is freed */
	SHAPE_RESIZE = 4,   /* in place; the result is the room that the block has now */
};

/* One position of a walk: the code at `pc` runs with these stack and frame pointers. */
struct position {
	u64 pc;
	u64 sp;
	u64 fp;
};

/*
 * Words of the user's stack that a walk reads at once: a copy of so many costs little more than one
 * of a single word.
 */
#define WALK_WINDOW_WORDS 64

/* A walk that is under way; `hash` is of the frames so far. */
struct walk {
	struct position at;
	u64 hash;
	u32 owner;
	u32 guessed;	   /* a rule was not known (yet), and the frame pointer was tried */
	u32 window_failed; /* the stack ends within a window */
	u32 unused;
	u64 window_start; /* 0: nothing is in the window */
	u64 wanted;	  /* the words that move_window() is to bring, */
	u64 wanted_sp;	  /* at or above this */
};

/* Two stack pointers that lie further apart are on two stacks: a signal handler's, a coroutine's.
 */
#define STACK_SPAN_LIMIT (1UL << 20)

/* The last call that was decided against, and whose return is not seen: quiet.bpf.h. */
struct quiet_call {
	u64 sp; /* entry stack pointer; 0: none */
	u64 caller;
	u64 probe;
};

/* A call instruction that leads to one probed function alone, by the address behind it. */
#define DIRECT_CALL_BITS 5
struct direct_call {
	u64 caller;
	u64 probe;
};

/* A thread's pending outermost call, and the room in which its stack is put together. */
struct thread_state {
	u64 sp; /* entry stack pointer of the call; 0: none pending */
	u64 caller;
	u64 size;
	u64 memptr;
	u64 old_address;
	u64 last_deleted; /* by a function that may call another one of them for the same block */
	u64 last_given;	  /* the newest block that was recorded, and its size */
	u64 last_given_size;
	struct tm_block old;
	struct tm_site_key site;
	u32 probe;
	u32 interval; /* sampling_interval when bytes_to_mark was drawn; 0: not yet */
	u8 shape;     /* enum call_shape */
	u8 have_old;
	u8 site_lost;
	u8 stack_lost;
	u8 bare;      /* no return probe on the pending call: its return instructions are probed */
	u8 unsampled; /* the pending call's block is not to be recorded */
	u8 unused[2];
	u64 bytes_to_mark; /* that may be allocated before one is sampled: sample.bpf.h */
	struct quiet_call quiet;
	struct direct_call direct_calls[1 << DIRECT_CALL_BITS];
	u32 syscall; /* the last followed one: its number and 1 more, SYSCALL_DONE at its exit */
	u32 copies;  /* of mapping_enter or mapping_exit that ran in this event, a bit each */
	struct walk walk;
	struct tm_mapping_record
		record; /* of the system call whose stack is put together behind it */
	struct tm_stack stack;
	u64 window[WALK_WINDOW_WORDS]; /* of the user's stack, from walk.window_start on */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread_state);
} threads __weak SEC(".maps");

/* For kernels without task storage. forget_thread() drops those of dead ones. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct thread_state);
} threads_by_tid __weak SEC(".maps");

static const struct thread_state idle_thread;

static __always_inline struct thread_state *thread_by_tid(bool create)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct thread_state *thread = bpf_map_lookup_elem(&threads_by_tid, &tid);

	if (thread || !create)
		return thread;
	bpf_map_update_elem(&threads_by_tid, &tid, &idle_thread, BPF_NOEXIST);
	return bpf_map_lookup_elem(&threads_by_tid, &tid);
}

static __always_inline struct thread_state *running_thread(bool create)
{
	if (have_task_storage)
		return bpf_task_storage_get(&threads, bpf_get_current_task_btf(), NULL,
					    create ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
	return thread_by_tid(create);
}

/*
 * Does the slot of the pending call's return address still hold what was put there? Of a call with
 * a return probe that is a trampoline. A bare call's slot holds the return address itself, or the
 * trampoline of the function that it jumped to at its end.
 */
static __always_inline bool return_is_to_come(const struct thread_state *thread)
{
	if (thread->bare && return_is_unchanged(thread->sp, thread->caller))
		return true;
	return return_is_pending(thread->sp);
}

static __always_inline void forget_thread(u32 tid)
{
	if (!have_task_storage)
		bpf_map_delete_elem(&threads_by_tid, &tid);
}

#endif
