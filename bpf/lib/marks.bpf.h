/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How far it is to the next mark, where marks lie on a stream at random (a Poisson process). BPF
 * has no floating point: fixed point here.
 */
#ifndef TIDEMARK_MARKS_BPF_H
#define TIDEMARK_MARKS_BPF_H

#include "compat.bpf.h"

#define LN2_31 1488522236UL /* ln 2, 31 binary places */

/*
 * -log2((random + 1) / 2^32), with 32 binary places: the whole part from the leading zeroes, the
 * others by squaring, which doubles a logarithm: one bit each time that the square exceeds 2.
 */
static __always_inline u64 negative_log2(u32 random)
{
	u64 x = (u64)random + 1;
	u64 whole = 0, places = 0;

	for (u32 i = 0; i < 32; i++) {
		u64 small = (x >> 32) ^ 1;

		x <<= small;
		whole += small;
	}
	x >>= 1;
	for (u32 i = 0; i < 32; i++) {
		u64 bit;

		x = x * x >> 31;
		bit = x >> 32;
		x >>= bit;
		places = places << 1 | bit;
	}
	return (whole << 32) - places;
}

/* The distance to the next mark where one lies on a length of 1 on average: exponentially
 * distributed, 32 binary places. */
static __always_inline u64 natural_distance(u32 random)
{
	return (negative_log2(random) >> 5) * LN2_31 >> 26;
}

/*
 * Bytes to the next mark, rounded down. Global: the verifier goes through it once.
 */
__weak __noinline u64 draw_distance(u32 random, u32 interval)
{
	return natural_distance(random) * interval >> 32;
}

#endif
