// SPDX-License-Identifier: Apache-2.0
//
// The programs of kernel memory as plain functions, their maps as a list. Seen from C and C++.
#ifndef TIDEMARK_BPF_HOST_KERNEL_MEMORY_H
#define TIDEMARK_BPF_HOST_KERNEL_MEMORY_H

#include <linux/types.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bpf_raw_tracepoint_args;

struct kernel_map {
  const char* name;
  void* map;
  __u32 type;
  __u32 key_bytes;
  __u32 value_bytes;
  __u32 max_entries;
};
extern const struct kernel_map kernel_maps[];
extern const __u32 kernel_map_count;

int on_kmalloc(struct bpf_raw_tracepoint_args* context);
int on_cache_alloc(struct bpf_raw_tracepoint_args* context);
int on_kfree(struct bpf_raw_tracepoint_args* context);
int on_cache_free(struct bpf_raw_tracepoint_args* context);
int on_percpu_alloc(struct bpf_raw_tracepoint_args* context);
int on_percpu_free(struct bpf_raw_tracepoint_args* context);
int on_page_alloc(struct bpf_raw_tracepoint_args* context);
int on_page_free(struct bpf_raw_tracepoint_args* context);
int drop_object(__u64 address, __u64 before_ns);
int drop_free_pages(struct bpf_raw_tracepoint_args* context);
int order_at(__u64 first_frame, __u64 end);
// A call for pages in bulk; `fill` stands for the allocator.
void pages_in_bulk(void* context, __u64* array, __u64 asked, __u64 filled_now, void (*fill)(void));
void forget_splittable_blocks(void);

extern volatile __u32 is_counting;
extern volatile __u32 takes_allocations;
extern volatile __u32 growing_places;

#ifdef __cplusplus
}
#endif

#endif
