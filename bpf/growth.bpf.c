// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who makes resident sets grow (abi/growth.h). The tracepoint rss_stat tells each change of a count
 * of an address space, in the context of whoever made it; page_fault_* tell where memory is
 * touched. Growth is summed up for each process, and where a mark falls into it the stack is handed
 * over.
 *
 * Marks lie at random on the growth of all, one in `interval` bytes on average. How long that is
 * may depend on whatever was seen before: it is told with each sample, and what a sample stands for
 * follows from it alone.
 *
 * Who asks for address space, by brk and mmap, is seen where its process touches memory next: an
 * allocator does so at once. The tracepoints of system calls would tell it at the call, and make
 * every call of every process on the machine slower.
 */
#include "abi/growth.h"
#include "lib/marks.bpf.h"
#include "lib/stack_copy.bpf.h"

char LICENSE[] SEC("license") = "GPL";

#define PAGE_SHIFT   12
#define PF_KTHREAD   0x00200000 /* include/linux/sched.h */
#define PF_IO_WORKER 0x00000010
#define THREAD_BYTES 16384 /* of kernel stack: arch/x86/include/asm/page_64_types.h */

/* Places of the kernel's counts: enum in include/linux/mm_types_task.h. */
#define MM_ANONPAGES  1
#define MM_SHMEMPAGES 3

/* A mark in so many bytes (as a power of 2) while there is little growth, and at most. */
#define LEAST_INTERVAL_SHIFT 15
#define MOST_INTERVAL_SHIFT  26
/* Each so many samples a second of one process, and of all, double the interval. */
#define SAMPLES_OF_PROCESS_SHIFT 4
#define SAMPLES_OF_ALL_SHIFT	 6
/* What every process does when it starts is of little interest. */
#define YOUNG_SHIFT    5
#define YOUNG_NS       1000000000UL
#define UNNAMED_EVENTS 32
#define MOST_STEP      (1UL << 31)

/* Steps that are remembered on a CPU; a power of 2. */
#define STEPS 256

#define TM_GROWTH_NOT_TOLD (-1L)

#if defined(__TARGET_ARCH_x86)
/* Entries by an exception leave -1 there: arch/x86/entry/entry_64.S. */
#define IN_SYSCALL(registers) ((long)(registers)->orig_ax != -1)
#elif defined(__TARGET_ARCH_arm64)
#define IN_SYSCALL(registers) false
#endif

const volatile __u32 growth_self = 0;
/*
 * rss_stat passes the new count. Until 6.2 (f1a7941243c1 "mm: convert mm's rss stats into
 * percpu_counter"): since then a count is in parts, and the event passes none of them.
 */
const volatile bool rss_stat_tells_count = false;
/* More than a count's part on one CPU is let grow to, in pages. */
const volatile __u32 growth_large_step = 128;

volatile __u32 growth_is_on = 0;
/* Samples in the second (of 2^30 ns) that runs. */
volatile __u32 sampled_second = 0;
volatile __u32 sampled_in_second = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TM_GROWTH_PROCESSES);
	__type(key, u32); /* tgid */
	__type(value, struct tm_growth_process);
} growth_processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} growth_samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TM_GROWTH_COUNTER_MAX);
	__type(key, u32);
	__type(value, struct tm_count);
} growth_counters SEC(".maps");

/* A count of an address space as this CPU left it. */
struct step {
	u64 mm;
	u32 tgid;
	s32 part;
	s64 shared;
};

/* These programs run with preemption off: a CPU's room is theirs while they run. */
struct growth_cpu {
	u64 to_mark;  /* the growth up to the next mark, in intervals, 32 binary places */
	u64 offset;   /* where this CPU's memory lies, from what the kernel keeps as a pointer */
	u64 address;  /* of the last page fault, */
	u64 faulting; /* and whose it was; 0: it has told its growth */
	u64 tellings; /* that are still to come of it */
	struct step steps[STEPS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct growth_cpu);
} growth_cpus SEC(".maps");

/* A number, where the verifier sees a pointer. */
volatile __u64 growth_number = 0;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_array___growth {
	void *pptrs[0];
};
#pragma clang attribute pop

/* One global function, which the verifier goes through once. */
__weak __noinline u64 draw_natural(u32 random)
{
	return natural_distance(random);
}

static __always_inline void count_event(enum tm_growth_counter counter, u64 bytes)
{
	u32 index = counter;
	struct tm_count *slot = bpf_map_lookup_elem(&growth_counters, &index);

	if (!slot)
		return;
	slot->count += 1;
	slot->bytes += bytes;
}

static __always_inline struct growth_cpu *this_cpu(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&growth_cpus, &zero);
}

/* From what the map has as the kernel's pointer to `cpu`, and where that really is. */
static __noinline u64 find_offset(struct growth_cpu *cpu)
{
	u64 map, percpu = 0;

	growth_number = (u64)&growth_cpus;
	map = growth_number;
	growth_number = (u64)cpu;
	bpf_probe_read_kernel(
		&percpu, sizeof(percpu),
		(void *)(map + bpf_core_field_offset(struct bpf_array___growth, pptrs)));
	return growth_number - percpu;
}

/* In pages; `unknown`: this CPU did not see the one before. */
struct change {
	s64 pages;
	s64 count;   /* the kernel's, or its shared part */
	s64 shared;  /* what that has gained since this CPU's last one */
	bool folded; /* this CPU's part may have been put into it */
	bool unknown;
};

/*
 * By how much this CPU has just changed its part of a count. percpu_counter_add_batch() adds to the
 * CPU's own part, and puts all of it into the shared one where it gets large; what the shared one
 * gains beside that is other CPUs' doing. `tgid` is 0 where another process's count is changed.
 */
static __always_inline void read_parts(struct growth_cpu *cpu, u64 mm, u32 tgid, u32 member,
				       struct change *change)
{
	u64 at = mm + bpf_core_field_offset(struct mm_struct, rss_stat) +
		 member * bpf_core_type_size(struct percpu_counter);
	struct step *step = &cpu->steps[(mm >> 6 ^ mm >> 14 ^ member << 6) & (STEPS - 1)];
	bool is_known = step->mm == (mm | member) && (!tgid || step->tgid == tgid);
	u64 parts = 0;
	s64 shared = 0;
	s32 part = 0;

	change->unknown = !is_known;
	if (!is_known && !tgid)
		return;
	if (!cpu->offset)
		cpu->offset = find_offset(cpu);
	bpf_probe_read_kernel(&shared, sizeof(shared),
			      (void *)(at + bpf_core_field_offset(struct percpu_counter, count)));
	bpf_probe_read_kernel(
		&parts, sizeof(parts),
		(void *)(at + bpf_core_field_offset(struct percpu_counter, counters)));
	bpf_probe_read_kernel(&part, sizeof(part), (void *)(parts + cpu->offset));
	if (is_known) {
		change->pages = part - step->part;
		change->shared = shared - step->shared;
		change->folded = !part;
	} else {
		step->mm = mm | member;
		step->tgid = tgid;
	}
	step->part = part;
	step->shared = shared;
	change->count = shared;
}

static __always_inline u64 started_boot_ns(struct task_struct *task)
{
	return BPF_CORE_READ(task, group_leader, start_boottime);
}

/* What lies between the ends of the heap; nothing while an exec is under way. */
static __always_inline u64 heap_of(struct mm_struct *mm)
{
	return mm->brk - mm->start_brk;
}

/* The row of the running process, a new one for a new address space. */
static __always_inline struct tm_growth_process *process_of(struct task_struct *task,
							    struct mm_struct *mm, u32 tgid)
{
	struct tm_growth_process *known = bpf_map_lookup_elem(&growth_processes, &tgid);
	struct tm_growth_process row = {};
	int error;

	if (known && known->mm == (u64)mm)
		return known;
	row.mm = (u64)mm;
	row.started_boot_ns = started_boot_ns(task);
	row.met_ns = bpf_ktime_get_ns();
	row.is_young = bpf_ktime_get_boot_ns() - row.started_boot_ns < YOUNG_NS;
	row.heap_first = row.heap = heap_of(mm);
	row.data_first = row.data = mm->data_vm;
	row.told[TM_GROWTH_ANON] = row.told[TM_GROWTH_SHMEM] = TM_GROWTH_NOT_TOLD;
	error = bpf_map_update_elem(&growth_processes, &tgid, &row, BPF_ANY);
	return error ? NULL : bpf_map_lookup_elem(&growth_processes, &tgid);
}

/*
 * What this CPU has put into the shared part, of all that came to it since its last event: what was
 * told from other CPUs meanwhile is theirs.
 */
static __always_inline s64 folded_pages(const struct change *change, s64 told, s64 since)
{
	s64 gained = change->shared;

	if (told == TM_GROWTH_NOT_TOLD)
		return gained;
	return (since < 0 ? -since : since) < (gained < 0 ? -gained : gained) ? since : gained;
}

/* Pages that the process has gained, as far as it can be known; of nobody's row, a guess. */
static __always_inline s64 gained_pages(const struct growth_cpu *cpu,
					struct tm_growth_process *process, u32 kind,
					const struct change *change)
{
	s64 told = process ? process->told[kind] : TM_GROWTH_NOT_TOLD;
	bool is_fault = cpu->faulting == bpf_get_current_pid_tgid();
	s64 since = change->count - told;

	if (process)
		process->told[kind] = change->count;
	if (!rss_stat_tells_count && !change->unknown)
		return change->pages + (change->folded ? folded_pages(change, told, since) : 0);
	if (told == TM_GROWTH_NOT_TOLD)
		since = 0;
	if (rss_stat_tells_count)
		return since;
	count_event(TM_GROWTH_growth_unknown_steps, 0);
	if (since > growth_large_step)
		return since;
	return is_fault ? 1 : 0;
}

/*
 * The mean distance of marks, as a power of 2. It may depend on anything but on what the step in
 * hand is: so a process, and the machine, gets ever fewer samples the more it has had this second.
 */
static __always_inline u32 interval_shift(const struct tm_growth_process *process, u64 now_ns)
{
	u32 second = now_ns >> 30;
	u32 shift = LEAST_INTERVAL_SHIFT;

	if (now_ns - process->met_ns < YOUNG_NS && process->is_young)
		shift += YOUNG_SHIFT;
	if (process->second == second)
		shift += process->samples >> SAMPLES_OF_PROCESS_SHIFT;
	if (sampled_second == second)
		shift += sampled_in_second >> SAMPLES_OF_ALL_SHIFT;
	return shift > MOST_INTERVAL_SHIFT ? MOST_INTERVAL_SHIFT : shift;
}

static __always_inline void count_sample(struct tm_growth_process *process, u64 now_ns)
{
	u32 second = now_ns >> 30;

	if (process->second != second)
		process->samples = 0;
	process->second = second;
	process->samples += 1;
	if (sampled_second != second)
		sampled_in_second = 0;
	sampled_second = second;
	__sync_fetch_and_add(&sampled_in_second, 1);
}

/* What user mode had in its registers: behind a system call, or at the instruction that faulted. */
static __always_inline bool user_registers(struct task_struct *task, struct pt_regs *registers)
{
	u64 at;

	if (BPF_CORE_READ(task, flags) & (PF_KTHREAD | PF_IO_WORKER))
		return false;
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		at = bpf_task_pt_regs(bpf_get_current_task_btf());
	else
		at = (u64)BPF_CORE_READ(task, stack) + THREAD_BYTES - sizeof(*registers);
	return !bpf_probe_read_kernel(registers, sizeof(*registers), (void *)at);
}

static __noinline int hand_over(struct tm_growth_process *process, u64 grown_bytes, u32 kind,
				u32 shift)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct growth_cpu *cpu = this_cpu();
	u64 thread = bpf_get_current_pid_tgid();
	struct tm_growth_sample *sample;
	struct pt_regs registers = {};

	if (!process || !cpu)
		return 0;
	sample = bpf_ringbuf_reserve(&growth_samples, sizeof(*sample), 0);
	if (!sample) {
		u64 interval = 1UL << (shift & 63);

		count_event(TM_GROWTH_growth_samples_lost,
			    grown_bytes > interval ? grown_bytes : interval);
		return 0;
	}
	sample->time_ns = bpf_ktime_get_ns();
	sample->started_boot_ns = process->started_boot_ns;
	sample->mm = process->mm;
	sample->tgid = thread >> 32;
	sample->kind = kind;
	sample->grown_bytes = grown_bytes;
	sample->interval_bytes = 1UL << (shift & 63);
	sample->address = kind < TM_GROWTH_KINDS && cpu->faulting == thread ? cpu->address : 0;
	sample->pc = sample->sp = sample->fp = 0;
	sample->in_syscall = 0;
	sample->size_bytes = 0;
	if (user_registers(task, &registers)) {
		sample->pc = USER_PC(&registers);
		sample->sp = USER_SP(&registers);
		sample->fp = USER_FP(&registers);
		sample->in_syscall = IN_SYSCALL(&registers);
		sample->size_bytes = copy_stack(sample->bytes, sample->sp, TM_RAW_STACK_BYTES);
	}
	bpf_ringbuf_submit(sample, 0);
	return 0;
}

/*
 * Address space that came since the process touched memory last. A mark falls into it by a draw of
 * its own: distances between marks have no memory.
 */
static __always_inline void gain(struct tm_growth_process *process, u64 bytes, u32 kind)
{
	u64 now_ns = bpf_ktime_get_ns();
	u32 shift = interval_shift(process, now_ns);

	if (bytes > MOST_STEP)
		bytes = MOST_STEP;
	if (bytes << (32 - shift) < draw_natural(bpf_get_prandom_u32()))
		return;
	count_sample(process, now_ns);
	hand_over(process, bytes, kind, shift);
}

/* Two CPUs that see it at once may both count it; what lies between is a few instructions. */
static __noinline int gain_space(struct tm_growth_process *process, u64 heap, u64 data)
{
	u64 heap_bytes, data_bytes;

	if (!process)
		return 0;
	heap_bytes = heap > process->heap ? heap - process->heap : 0;
	data_bytes = data > process->data ? (data - process->data) << PAGE_SHIFT : 0;
	process->heap = heap;
	process->data = data;
	if (heap_bytes)
		gain(process, heap_bytes, TM_GROWTH_BRK);
	/* The heap ends within a page. */
	if (data_bytes > heap_bytes + (1UL << PAGE_SHIFT))
		gain(process, data_bytes - heap_bytes, TM_GROWTH_MMAP);
	return 0;
}

static __always_inline void grow(struct growth_cpu *cpu, struct tm_growth_process *process,
				 u64 bytes, u32 kind)
{
	u64 now_ns = bpf_ktime_get_ns();
	u32 shift = interval_shift(process, now_ns);
	u64 length;

	__sync_fetch_and_add(&process->grown_bytes[kind], bytes);
	if (bytes > MOST_STEP)
		bytes = MOST_STEP;
	length = bytes << (32 - shift);
	if (!cpu->to_mark)
		cpu->to_mark = draw_natural(bpf_get_prandom_u32());
	if (length < cpu->to_mark) {
		cpu->to_mark -= length;
		return;
	}
	cpu->to_mark = draw_natural(bpf_get_prandom_u32());
	count_sample(process, now_ns);
	hand_over(process, bytes, kind, shift);
}

/* TP_PROTO(struct mm_struct *mm, int member), and a long count until 6.2 */
SEC("?tp_btf/rss_stat")
int resident_set_changed(u64 *ctx)
{
	struct mm_struct *mm = (void *)ctx[0];
	int member = ctx[1];
	struct task_struct *task = (void *)bpf_get_current_task();
	struct change change = {};
	struct tm_growth_process *process;
	struct growth_cpu *cpu;
	u32 kind = member == MM_ANONPAGES ? TM_GROWTH_ANON : TM_GROWTH_SHMEM;
	bool is_own;
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	u64 number = 0; /* the mm, where the verifier sees no pointer */
	s64 pages;

	if (!growth_is_on || (member != MM_ANONPAGES && member != MM_SHMEMPAGES))
		return 0;
	cpu = this_cpu();
	if (!cpu || tgid == growth_self)
		return 0;
	bpf_probe_read_kernel(&number, sizeof(number), ctx);
	is_own = number == current_mm();
	if (rss_stat_tells_count)
		change.count = ctx[2];
	else
		read_parts(cpu, number, is_own ? tgid : 0, member, &change);
	if (!is_own || BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return 0;
	process = process_of(task, mm, tgid);
	pages = gained_pages(cpu, process, kind, &change);
	if (!process && pages > 0)
		count_event(TM_GROWTH_growth_processes_full, (u64)pages << PAGE_SHIFT);
	if (process) {
		/* An exec gives the name after the memory. */
		if (process->events < UNNAMED_EVENTS)
			bpf_get_current_comm(process->comm, sizeof(process->comm));
		process->events += 1;
		/* The copy of a stack may fault, so what has faulted before is told first. */
		if (pages > 0) {
			grow(cpu, process, (u64)pages << PAGE_SHIFT, kind);
			gain_space(process, heap_of(mm), mm->data_vm);
		}
	}
	if (cpu->tellings)
		cpu->tellings -= 1;
	if (!cpu->tellings)
		cpu->faulting = 0;
	return 0;
}

/*
 * Until 6.2 a thread saves up what its faults have added (SPLIT_RSS_COUNTING in mm/memory.c): a
 * later fault tells it, before it is handled, and its own page is told by whoever comes next.
 */
static __always_inline int page_fault(u64 address)
{
	struct growth_cpu *cpu = this_cpu();

	if (!cpu || !growth_is_on)
		return 0;
	cpu->address = address;
	cpu->faulting = bpf_get_current_pid_tgid();
	cpu->tellings = rss_stat_tells_count ? 2 : 1;
	return 0;
}

/* TP_PROTO(unsigned long address, struct pt_regs *regs, unsigned long error_code): before the fault
 * is handled. */
SEC("?tp_btf/page_fault_user")
int page_fault_of_user(u64 *ctx)
{
	return page_fault(ctx[0]);
}

/* What a system call touches for its caller. */
SEC("?tp_btf/page_fault_kernel")
int page_fault_of_kernel(u64 *ctx)
{
	return page_fault(ctx[0]);
}
