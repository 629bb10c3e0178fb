// SPDX-License-Identifier: Apache-2.0
//
// Compiles the programs of kernel memory for the host, unchanged, and lists their maps.
#define LICENSE license_of_kernel_slab
#include "kernel_slab.bpf.c"
#undef LICENSE
#define LICENSE license_of_kernel_page
#include "kernel_page.bpf.c"
#undef LICENSE
#define LICENSE license_of_kernel_verify
#include "kernel_verify.bpf.c"
#undef LICENSE

#include "kernel_memory.h"
#include "lib/kernel_calls.bpf.h"

#define NUMBER(map, field) (sizeof(*(map).field) / sizeof(int))
#define MAP(map)                                                               \
  {                                                                            \
#map, &(map), NUMBER(map, type), sizeof(*(map).key), sizeof(*(map).value), \
        NUMBER(map, max_entries)                                               \
  }

const struct kernel_map kernel_maps[] = {
    MAP(slab_blocks), MAP(page_blocks),    MAP(percpu_blocks),  MAP(sites),
    MAP(stacks),      MAP(growing),        MAP(caches),         MAP(counters),
    MAP(verdicts),    MAP(vmalloc_blocks), MAP(inside_vmalloc), MAP(objects_to_check),
    MAP(free_lists),  MAP(cpu_offsets),    MAP(calls),
};
const __u32 kernel_map_count = sizeof(kernel_maps) / sizeof(kernel_maps[0]);

void pages_in_bulk(void* context, __u64* array, __u64 asked, __u64 filled_now, void (*fill)(void)) {
  struct call call = {.array = (__u64)array, .count = asked, .gfp = 0xcc0};
  note_filled(&call);
  fill();
  pages_born(context, &call, filled_now);
}

void forget_splittable_blocks(void) {
  for (__u32 order = 0; order <= TM_MAX_ORDER; ++order) splittable[order] = 0;
}
