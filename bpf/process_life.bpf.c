// SPDX-License-Identifier: GPL-2.0-only
/*
 * The lives of the traced address spaces: exec starts a new generation, exit ends the last one.
 * What was counted stays under the generation that it belongs to.
 */
#include <linux/errno.h>
#include "lib/filter.bpf.h"
#include "lib/thread.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* signal_struct.flags: the group exits by one code. Same value since 2.6:
 * include/linux/sched/signal.h. */
#define SIGNAL_GROUP_EXIT 0x4

static __always_inline void end_generation(const struct tm_selected *chosen, u32 life,
					   u32 exit_code)
{
	u32 generation = chosen->generation;
	struct tm_generation *ended = bpf_map_lookup_elem(&generations, &generation);
	u64 mm = chosen->mm;

	if (ended) {
		ended->ended_ns = bpf_ktime_get_ns();
		ended->exit_code = exit_code;
		ended->life = life;
	}
	/* The mm's address may be another process's soon. */
	if (mm)
		bpf_map_delete_elem(&owners, &mm);
}

/*
 * A number that no other generation has. Kernels before 5.12 have no addition that returns the old
 * value, so two execs at the same time may read the same number: the insert decides whose it is.
 * 0, the number of none, where there is no room.
 */
static __always_inline u32 begin_generation(const struct tm_generation *born)
{
	u32 generation = 0;
	int error = -EEXIST;

	for (u32 tries = 0; tries < 16 && error == -EEXIST; tries++) {
		generation = next_generation;
		__sync_fetch_and_add(&next_generation, 1);
		error = bpf_map_update_elem(&generations, &generation, born, BPF_NOEXIST);
	}
	if (!error)
		return generation;
	count_event(error == -E2BIG ? TM_COUNTER_processes_full : TM_COUNTER_updates_refused, 0);
	return 0;
}

/* Selects a process that nobody asked for by number. */
static __always_inline void adopt(u32 tgid, const struct tm_generation *born)
{
	struct tm_selected chosen = {};

	chosen.generation = begin_generation(born);
	if (!chosen.generation)
		return;
	if (bpf_map_update_elem(&selected, &tgid, &chosen, BPF_ANY))
		count_event(TM_COUNTER_processes_full, 0);
}

static __always_inline void tell(u32 tgid, u32 kind)
{
	struct tm_news news = {.tgid = tgid, .kind = kind};

	bpf_ringbuf_output(&life_news, &news, sizeof(news), 0);
}

/* TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm) */
SEC("?raw_tp/sched_process_exec")
int life_exec(struct bpf_raw_tracepoint_args *ctx)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct tm_selected *chosen = bpf_map_lookup_elem(&selected, &tgid);
	struct tm_generation born = {.tgid = tgid, .life = TM_LIFE_RUNNING, .by_exec = 1};
	struct tm_rule_key news = {};
	u32 generation;

	if (!chosen) {
		/* Born of a kernel thread, or before we looked. */
		if (select_all && tgid != self_tgid)
			adopt(tgid, &born);
		if (tell_execs)
			tell(tgid, TM_NEWS_EXEC);
		return 0;
	}
	end_generation(chosen, TM_LIFE_EXECED, 0);
	/* The leader's task is gone then, and the probes with it. */
	born.by_thread = (u32)ctx->args[1] != tgid;
	generation = begin_generation(&born);
	chosen->mm = 0;
	chosen->generation = generation;
	/* So that the new image is looked at before it has done much. If it is lost, the next look
	 * does. */
	news.owner = generation;
	bpf_ringbuf_output(&rule_requests, &news, sizeof(news), 0);
	return 0;
}

/* TP_PROTO(struct task_struct *parent, struct task_struct *child) */
SEC("?raw_tp/sched_process_fork")
int life_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0];
	struct task_struct *child = (void *)ctx->args[1];
	u32 tgid = BPF_CORE_READ(parent, tgid);
	u32 new_tgid = BPF_CORE_READ(child, tgid);
	struct tm_generation born = {.life = TM_LIFE_RUNNING};
	struct tm_selected *chosen;
	struct mm_struct *mm = BPF_CORE_READ(child, mm);

	if (new_tgid == tgid)
		return 0;
	chosen = bpf_map_lookup_elem(&selected, &tgid);
	if (select_all) {
		/* A kernel thread has no memory; our helpers are not to be looked at. */
		if (!mm || tgid == self_tgid)
			return 0;
		born.tgid = new_tgid;
		born.parent = chosen ? chosen->generation : 0;
		adopt(new_tgid, &born);
	} else if (chosen) {
		if (gate_state == TM_GATE_OPEN && mm == BPF_CORE_READ(parent, mm))
			count_event(TM_COUNTER_sharing_children, 0);
	} else if (!bpf_map_lookup_elem(&watched_parents, &tgid)) {
		return 0;
	}
	if (tell_children)
		tell(new_tgid, TM_NEWS_CHILD);
	return 0;
}

/* TP_PROTO(struct task_struct *p, ...): for every thread, behind the decrement of signal->live. */
SEC("?raw_tp/sched_process_exit")
int life_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	u32 tgid = BPF_CORE_READ(task, tgid);
	struct tm_selected *chosen = bpf_map_lookup_elem(&selected, &tgid);
	u32 code;

	if (!chosen)
		return 0;
	forget_thread(BPF_CORE_READ(task, pid));
	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	if (BPF_CORE_READ(task, signal, flags) & SIGNAL_GROUP_EXIT)
		code = BPF_CORE_READ(task, signal, group_exit_code);
	else
		code = BPF_CORE_READ(task, exit_code);
	end_generation(chosen, TM_LIFE_EXITED, code);
	/* The number may be given to another process. */
	bpf_map_delete_elem(&selected, &tgid);
	return 0;
}
