/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Poisson sampling by bytes. Marks lie on the stream of a thread's allocated bytes at random, one
 * in `interval` on average; a block is recorded if a mark falls into it, which happens with
 * probability p = 1 - e^(-size/interval), and then stands for 1/p blocks and size/p bytes. Such
 * sums are right on average whatever the sizes are (userspace/model/sampling.h has the mathematics
 * in doubles, and the error). BPF has no floating point: fixed point here, and a test holds both
 * against each other.
 *
 * How far it is to the next mark is kept with the thread. Marks have no memory, so that a countdown
 * may be thrown away at any time (another interval) and drawn anew.
 */
#ifndef TIDEMARK_SAMPLE_BPF_H
#define TIDEMARK_SAMPLE_BPF_H

#include "marks.bpf.h"
#include "thread.bpf.h"

/* False: every block is recorded, and what follows is left out of the programs. */
const volatile bool sampling __weak = false;

/* Mean bytes between marks, 0: each block is recorded. May change while the trace runs.
 * TM_MOST_INTERVAL_BYTES at most. */
volatile __u32 sampling_interval __weak = 0;

#define ONE_28 (1UL << 28)

/* What a recorded block stands for. `count` has TM_COUNT_PLACES binary places where we sample. */
struct weight {
	u64 bytes;
	u64 count;
};

/*
 * size / (1 - e^(-size/R)) = R (y + y coth y) with y = size / 2R. y coth y from the first terms of
 * its series, at y / 64, and doubled up from there: C(2y) = C(y) + y^2 / C(y). 28 binary places.
 */
static __noinline int weigh(u64 size, u32 interval, struct weight *weight)
{
	u64 y, part, square, c;

	if (!weight)
		return 0;
	if (!sampling || !interval || size / 32 >= interval) {
		weight->bytes = size;
		weight->count = sampling ? 1UL << TM_COUNT_PLACES : 1;
		return 0;
	}
	/* What is in the countdown for a block of no size, too. */
	if (!size)
		size = 1;
	y = (size << 27) / interval;
	part = y >> 6;
	square = part * part >> 28;
	c = ONE_28 + square / 3 - (square * square >> 28) / 45;
	for (u32 i = 0; i < 6; i++) {
		part = y >> (6 - i);
		c += part * part / c;
	}
	c = (u64)interval * (y + c);
	weight->bytes = (c + ONE_28 / 2) >> 28;
	weight->count = (c >> (28 - TM_COUNT_PLACES)) / size;
	return 0;
}

/* Does a mark fall into a block of `size` that the running thread allocates? */
static __always_inline bool is_sampled(struct thread_state *thread, u64 size)
{
	u32 interval = sampling_interval;
	u64 length = size ? size : 1;

	if (!interval) {
		thread->interval = 0;
		return true;
	}
	if (thread->interval != interval) {
		thread->interval = interval;
		thread->bytes_to_mark = draw_distance(bpf_get_prandom_u32(), interval);
	}
	if (length <= thread->bytes_to_mark) {
		thread->bytes_to_mark -= length;
		return false;
	}
	thread->bytes_to_mark = draw_distance(bpf_get_prandom_u32(), interval);
	return true;
}

#endif
