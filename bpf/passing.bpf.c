// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes that came and went between two looks at /proc: what began after a moment that user
 * space sets is kept with its name when it ends. Kernel threads have no memory of their own and are
 * left out. Runs at each exit of a thread: a few reads, and one insert for the last of a process.
 */
#include "abi/passing.h"
#include "lib/compat.bpf.h"

char LICENSE[] SEC("license") = "GPL";

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */

/* Set by user space, CLOCK_BOOTTIME. */
__u64 since_boot_ns;
/* Ended, and found no room in the table. */
__u64 not_kept;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TM_PASSED_ROOM);
	__type(key, struct tm_passed_key);
	__type(value, struct tm_passed);
} passed SEC(".maps");

/* TP_PROTO(struct task_struct *p, ...): for every thread, behind the decrement of signal->live. */
SEC("raw_tp/sched_process_exit")
int process_passed(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	struct tm_passed_key key = {};
	struct tm_passed value = {};
	int result;

	if (BPF_CORE_READ(task, signal, live.counter))
		return 0;
	/* The leader's: another thread may be the last one. */
	key.started_boot_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	if (key.started_boot_ns < since_boot_ns)
		return 0;
	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return 0;
	value.peak_pages = BPF_CORE_READ(task, signal, maxrss);
	key.pid = BPF_CORE_READ(task, tgid);
	BPF_CORE_READ_STR_INTO(&value.comm, task, group_leader, comm);
	/* Two threads that end at the same time may both be the last one to themselves: kept once.
	 */
	result = bpf_map_update_elem(&passed, &key, &value, BPF_ANY);
	if (result)
		__sync_fetch_and_add(&not_kept, 1);
	return 0;
}
