// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which system calls of the targets change their mappings, told to userspace in order
 * (abi/mapping.h). These two tracepoints see every system call of the machine: the number is looked
 * at first, then whose it is.
 */
#include <linux/errno.h>
#include "abi/mapping.h"
#include "lib/filter.bpf.h"
#include "lib/quiet.bpf.h"
#include "lib/shm.bpf.h"
#include "lib/stack.bpf.h"
#include "lib/syscall.bpf.h"

char LICENSE[] SEC("license") = "GPL";

#define RECORDS_BYTES (1UL << 23)
/* The fuller the ring buffer, the less of a stack goes along. */
#define LARGE_SAMPLES_UP_TO (RECORDS_BYTES / 4)
#define SMALL_SAMPLES_UP_TO (RECORDS_BYTES / 4 * 3)

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RECORDS_BYTES);
} mapping_records SEC(".maps");

struct large_sample {
	struct tm_mapping_record record;
	struct tm_sample_head head;
	u8 bytes[TM_SAMPLE_CHUNK * TM_SAMPLE_CHUNKS];
};

struct small_sample {
	struct tm_mapping_record record;
	struct tm_sample_head head;
	u8 bytes[TM_SAMPLE_CHUNK * 2];
};

static __always_inline void send(const struct tm_mapping_record *record)
{
	if (bpf_ringbuf_output(&mapping_records, (void *)record, sizeof(*record), 0))
		count_event(TM_COUNTER_mapping_records_lost, record->length);
}

/* The record and the stack behind it, which lies there in the thread's state. */
static __always_inline void send_stack(struct thread_state *thread)
{
	u64 size = sizeof(thread->record) + 8 + 8UL * (thread->stack.depth & TM_STACK_DEPTH);

	_Static_assert(offsetof(struct thread_state, stack) ==
			       offsetof(struct thread_state, record) + sizeof(thread->record),
		       "the stack lies behind the record");
	thread->record.detail = TM_MAPPING_WITH_STACK;
	if (bpf_ringbuf_output(&mapping_records, &thread->record, size, 0))
		count_event(TM_COUNTER_mapping_records_lost, thread->record.length);
}

static __always_inline u64 first_chunk(u64 sp)
{
	return sp & ~(TM_SAMPLE_CHUNK - 1UL);
}

static __always_inline bool send_large_sample(const struct thread_state *thread)
{
	struct large_sample *sent = bpf_ringbuf_reserve(&mapping_records, sizeof(*sent), 0);
	u64 start = first_chunk(thread->record.sp);
	u32 chunks = 0;

	if (!sent)
		return false;
	sent->record = thread->record;
	for (u32 i = 0; i < TM_SAMPLE_CHUNKS; i++) {
		if (bpf_probe_read_user(&sent->bytes[i * TM_SAMPLE_CHUNK], TM_SAMPLE_CHUNK,
					(void *)(start + i * TM_SAMPLE_CHUNK)))
			break;
		chunks++;
	}
	sent->head.start = start;
	sent->head.size_bytes = chunks * TM_SAMPLE_CHUNK;
	bpf_ringbuf_submit(sent, 0);
	return true;
}

static __always_inline bool send_small_sample(const struct thread_state *thread)
{
	struct small_sample *sent = bpf_ringbuf_reserve(&mapping_records, sizeof(*sent), 0);
	u64 start = first_chunk(thread->record.sp);
	bool first, second;

	if (!sent)
		return false;
	sent->record = thread->record;
	first = !bpf_probe_read_user(sent->bytes, TM_SAMPLE_CHUNK, (void *)start);
	second = !bpf_probe_read_user(&sent->bytes[TM_SAMPLE_CHUNK], TM_SAMPLE_CHUNK,
				      (void *)(start + TM_SAMPLE_CHUNK));
	sent->head.start = start;
	sent->head.size_bytes = first ? (second ? 2 : 1) * TM_SAMPLE_CHUNK : 0;
	bpf_ringbuf_submit(sent, 0);
	return true;
}

static __always_inline bool send_sample(struct thread_state *thread)
{
	u64 waiting = bpf_ringbuf_query(&mapping_records, BPF_RB_AVAIL_DATA);

	thread->record.detail = TM_MAPPING_WITH_SAMPLE;
	if (waiting < LARGE_SAMPLES_UP_TO && send_large_sample(thread))
		return true;
	return waiting < SMALL_SAMPLES_UP_TO && send_small_sample(thread);
}

/* Is the thread in an allocator's call that the heap's probes follow? */
static __always_inline bool in_allocator(const struct thread_state *thread, u64 sp)
{
	return thread->sp && sp <= thread->sp && thread->sp - sp < STACK_SPAN_LIMIT &&
	       return_is_to_come(thread);
}

/* Tells of new memory, with the stack that asked for it. */
static __noinline int send_origin(struct tm_mapping_record *record, struct pt_regs *regs)
{
	struct thread_state *thread = running_thread(true);

	if (!record || !regs)
		return 0;
	if (!thread) {
		count_event(TM_COUNTER_threads_full, record->length);
		send(record);
		return 0;
	}
	record->pc = USER_PC(regs);
	record->sp = USER_SP(regs);
	record->fp = USER_FP(regs);
	record->backing = in_allocator(thread, record->sp);
	if (in_quiet_call(thread, record->sp))
		record->quiet_caller = thread->quiet.caller;
	thread->record = *record;
	thread->walk.at.pc = record->pc;
	thread->walk.at.sp = record->sp;
	thread->walk.at.fp = record->fp;
	thread->walk.owner = record->owner;
	walk_user_stack(thread);
	if (!thread->walk.guessed || !send_sample(thread))
		send_stack(thread);
	return 0;
}

static __always_inline bool is_ours(struct tm_mapping_record *record)
{
	record->owner = current_owner();
	if (!record->owner || gate_state == TM_GATE_LEARNING || is_foreign_syscall())
		return false;
	record->tid = bpf_get_current_pid_tgid();
	record->time_ns = bpf_ktime_get_ns();
	return true;
}

static __always_inline u64 current_break(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, mm, brk);
}

/* struct clone_args of clone3(2): linux/sched.h, the first version of 64 bytes. */
struct stack_of_clone3 {
	u64 flags;
	u64 others[4];
	u64 stack;
	u64 stack_bytes;
};

static __always_inline void enter_clone(struct tm_mapping_record *record, u64 flags, u64 stack_top)
{
	if (!stack_top)
		return;
	record->op = TM_MAPPING_STACK;
	record->start = stack_top - 1;
	record->flags = flags;
	send(record);
}

static __always_inline void enter_clone3(struct tm_mapping_record *record, u64 arguments)
{
	struct stack_of_clone3 given = {};

	if (bpf_probe_read_user(&given, sizeof(given), (void *)arguments) || !given.stack)
		return;
	enter_clone(record, given.flags, given.stack + given.stack_bytes);
}

static __always_inline bool is_followed(long number)
{
	return number == __NR_mmap || number == __NR_munmap || number == __NR_mremap ||
	       number == __NR_brk || number == __NR_shmat || number == __NR_shmdt ||
	       number == __NR_clone || number == __NR_clone3;
}

/*
 * Kernels with trace_call_bpf_faultable() (7.2) run these programs preemptible, and skip a program
 * while another task on the same CPU is in it. So there userspace attaches every one several times,
 * and the first copy that runs does the work. A copy runs at most once in an event: one that has
 * run in this state already is in a new event, and what should have come between was skipped.
 */
#define SYSCALL_DONE (1U << 31)

static __always_inline void begin_event(struct thread_state *thread, u32 syscall, u32 copy)
{
	thread->syscall = syscall;
	thread->copies = 1U << copy;
}

/* Has another copy handled this event? Notes that this one was here. */
static __always_inline bool is_handled(struct thread_state *thread, u32 syscall, u32 copy)
{
	if (thread->syscall != syscall || thread->copies & (1U << copy))
		return false;
	thread->copies |= 1U << copy;
	return true;
}

static __always_inline bool is_first_at_enter(u32 number, u32 copy)
{
	struct thread_state *thread = running_thread(true);

	if (!thread) {
		count_event(TM_COUNTER_threads_full, 0);
		return false;
	}
	if (is_handled(thread, number + 1, copy))
		return false;
	if (thread->syscall && !(thread->syscall & SYSCALL_DONE))
		count_event(TM_COUNTER_mapping_calls_missed, 0);
	begin_event(thread, number + 1, copy);
	return true;
}

static __always_inline bool is_first_at_exit(u32 number, u32 copy)
{
	struct thread_state *thread = running_thread(false);

	/* It may have begun before the gate was opened. */
	if (!thread || !thread->syscall)
		return false;
	if (is_handled(thread, (number + 1) | SYSCALL_DONE, copy))
		return false;
	/* Of these two all is known at the exit. */
	if (thread->syscall != number + 1 && number != __NR_mmap && number != __NR_shmat)
		count_event(TM_COUNTER_mapping_calls_missed, 0);
	begin_event(thread, (number + 1) | SYSCALL_DONE, copy);
	return true;
}

/* TP_PROTO(struct pt_regs *regs, long id) */
static __always_inline int on_enter(u64 *ctx, u32 copy)
{
	struct pt_regs *regs = (void *)ctx[0];
	struct tm_mapping_record record = {};
	long number = ctx[1];

	if (!is_followed(number) || !is_ours(&record) || !is_first_at_enter(number, copy))
		return 0;
	if (number == __NR_mmap || number == __NR_shmat)
		return 0; /* told when it has a result */
	record.start = SYSCALL_ARG1(regs);
	if (number == __NR_clone) {
		enter_clone(&record, SYSCALL_ARG1(regs), SYSCALL_ARG2(regs));
		return 0;
	}
	if (number == __NR_clone3) {
		enter_clone3(&record, SYSCALL_ARG1(regs));
		return 0;
	}
	if (number == __NR_munmap) {
		record.op = TM_MAPPING_UNMAP;
		record.length = SYSCALL_ARG2(regs);
	} else if (number == __NR_shmdt) {
		record.op = TM_MAPPING_DETACH;
	} else if (number == __NR_mremap) {
		record.op = TM_MAPPING_REMAP;
		record.old_start = SYSCALL_ARG1(regs);
		record.old_length = SYSCALL_ARG2(regs);
	} else {
		record.op = TM_MAPPING_BREAK;
		record.old_start = current_break();
		if (!record.start ||
		    (gate_state == TM_GATE_DRAINING && record.start > record.old_start))
			return 0; /* it only asks; or it is a new allocation */
	}
	send(&record);
	return 0;
}

static __always_inline void exit_with_error(struct tm_mapping_record *record, long number)
{
	if (number == __NR_mmap || number == __NR_shmat || number == __NR_mremap)
		count_event(TM_COUNTER_failed_allocations, 0);
	if (number != __NR_munmap && number != __NR_mremap && number != __NR_shmdt)
		return;
	record->op = TM_MAPPING_UNDO;
	send(record);
}

/* TP_PROTO(struct pt_regs *regs, long ret). The registers still hold the arguments. */
static __always_inline int on_exit(u64 *ctx, u32 copy)
{
	struct pt_regs *regs = (void *)ctx[0];
	struct tm_mapping_record record = {};
	long number = SYSCALL_NUMBER(regs);
	u64 result = ctx[1];

	if (!is_followed(number) || !is_ours(&record) || !is_first_at_exit(number, copy))
		return 0;
	if (is_error(result)) {
		exit_with_error(&record, number);
		return 0;
	}
	record.start = result;
	if (number == __NR_mmap) {
		record.op = TM_MAPPING_MAPPED;
		record.length = SYSCALL_ARG2(regs);
		record.flags = SYSCALL_ARG4(regs);
	} else if (number == __NR_shmat) {
		record.op = TM_MAPPING_ATTACHED;
		record.length = shm_bytes(SYSCALL_ARG1(regs));
	} else if (number == __NR_mremap) {
		record.op = TM_MAPPING_REMAPPED;
		record.old_start = SYSCALL_ARG1(regs);
		record.old_length = SYSCALL_ARG2(regs);
		record.length = SYSCALL_ARG3(regs);
		record.flags = SYSCALL_ARG4(regs);
	} else if (number == __NR_brk && SYSCALL_ARG1(regs)) {
		record.op = TM_MAPPING_BROKE;
	} else {
		return 0;
	}
	if (gate_state == TM_GATE_OPEN || record.op == TM_MAPPING_REMAPPED ||
	    record.op == TM_MAPPING_BROKE)
		send_origin(&record, regs);
	return 0;
}

#define COPY(number)                                                                               \
	SEC("?tp_btf/sys_enter")                                                                   \
	int mapping_enter##number(u64 *ctx)                                                        \
	{                                                                                          \
		return on_enter(ctx, number);                                                      \
	}                                                                                          \
	SEC("?tp_btf/sys_exit")                                                                    \
	int mapping_exit##number(u64 *ctx)                                                         \
	{                                                                                          \
		return on_exit(ctx, number);                                                       \
	}

COPY(1)
COPY(2)
COPY(3)
COPY(4)
COPY(5)
COPY(6)
COPY(7)
COPY(8)
