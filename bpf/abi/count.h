/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What every object counts: a slot of its per-CPU array of counters. */
#ifndef TIDEMARK_ABI_COUNT_H
#define TIDEMARK_ABI_COUNT_H

#include <linux/types.h>

#ifdef __cplusplus
#define TM_STATIC_ASSERT(condition) static_assert(condition)
#else
#define TM_STATIC_ASSERT(condition) _Static_assert(condition, #condition)
#endif

struct tm_count {
	__u64 count;
	__u64 bytes;
};
TM_STATIC_ASSERT(sizeof(struct tm_count) == 16);

#endif
