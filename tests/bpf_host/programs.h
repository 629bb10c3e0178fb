// SPDX-License-Identifier: Apache-2.0
//
// The BPF programs of bpf/ as plain functions, their maps as a list, and what a loader sets. Seen
// from C and from C++.
#ifndef TIDEMARK_BPF_HOST_PROGRAMS_H
#define TIDEMARK_BPF_HOST_PROGRAMS_H

#include <linux/types.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pt_regs;
struct bpf_raw_tracepoint_args;

struct host_map {
  const char* name;
  void* map;
  __u32 type;  // enum bpf_map_type
  __u32 key_bytes;
  __u32 value_bytes;
  __u32 max_entries;
};
extern const struct host_map host_maps[];
extern const __u32 host_map_count;

int heap_malloc(struct pt_regs* context);
int heap_calloc(struct pt_regs* context);
int heap_memalign(struct pt_regs* context);
int heap_posix_memalign(struct pt_regs* context);
int heap_realloc(struct pt_regs* context);
int heap_reallocarray(struct pt_regs* context);
int heap_free(struct pt_regs* context);
int heap_reallocf(struct pt_regs* context);
int heap_resize(struct pt_regs* context);
int heap_arena_calloc(struct pt_regs* context);
int heap_arena_realloc(struct pt_regs* context);
int heap_delete(struct pt_regs* context);
int heap_bulk_free(struct pt_regs* context);
int heap_malloc_session(struct pt_regs* context);
int heap_realloc_session(struct pt_regs* context);
int heap_leave(struct pt_regs* context);
int heap_throw(struct pt_regs* context);
int heap_library(struct pt_regs* context);
int heap_usdt_alloc(struct pt_regs* context);
int heap_usdt_free(struct pt_regs* context);
int heap_return(struct pt_regs* context);
int life_exec(struct bpf_raw_tracepoint_args* context);
int life_fork(struct bpf_raw_tracepoint_args* context);
int life_exit(struct bpf_raw_tracepoint_args* context);
int mapping_enter1(__u64* context);
int mapping_enter2(__u64* context);
int mapping_exit1(__u64* context);
int mapping_exit2(__u64* context);

extern volatile __u32 gate_state;
extern volatile __u32 next_generation;
extern volatile __u32 raw_stacks_left;
extern volatile __u32 sampling_interval;

// Of bpf/lib/sample.bpf.h.
__u64 draw_distance(__u32 random, __u32 interval);
void weigh_block(__u64 size, __u32 interval, __u64* bytes, __u64* count);

#ifdef __cplusplus
}
#endif

#endif
