// SPDX-License-Identifier: Apache-2.0
//
// Compiles the programs of kernel memory for the host, unchanged, and lists their maps.
#define LICENSE license_of_kernel_slab
#include "kernel_slab.bpf.c"
#undef LICENSE
#define LICENSE license_of_kernel_page
#include "kernel_page.bpf.c"
#undef LICENSE

#include "kernel_memory.h"

#define NUMBER(map, field) (sizeof(*(map).field) / sizeof(int))
#define MAP(map)                                                               \
  {                                                                            \
#map, &(map), NUMBER(map, type), sizeof(*(map).key), sizeof(*(map).value), \
        NUMBER(map, max_entries)                                               \
  }

const struct kernel_map kernel_maps[] = {
    MAP(slab_blocks), MAP(page_blocks),    MAP(percpu_blocks),  MAP(sites),
    MAP(stacks),      MAP(growing),        MAP(caches),         MAP(counters),
    MAP(verdicts),    MAP(vmalloc_blocks), MAP(inside_vmalloc),
};
const __u32 kernel_map_count = sizeof(kernel_maps) / sizeof(kernel_maps[0]);

void forget_splittable_blocks(void) {
  for (__u32 order = 0; order <= TM_MAX_ORDER; ++order) splittable[order] = 0;
}
