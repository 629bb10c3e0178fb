/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk of bpf/lib/stack.bpf.h as a function of the host. Seen from C and from C++.
 */
#ifndef TIDEMARK_BENCH_WALK_ON_HOST_H
#define TIDEMARK_BENCH_WALK_ON_HOST_H

#include "bpf/abi/heap.h"

#ifdef __cplusplus
extern "C" {
#endif

/* From a position outwards, by the rules and over the memory that the helpers give. */
void walk_on_host(__u64 pc, __u64 sp, __u64 fp, __u32 owner, struct tm_stack* walked);

/* Of the maps that the walk asks: which of them is this? */
int is_map_of_rules(const void* map);
int is_ring_of_requests(const void* map);

/* The room of the one thread that walks. */
void* room_of_thread(void);

#ifdef __cplusplus
}
#endif

#endif
