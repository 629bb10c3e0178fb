// SPDX-License-Identifier: Apache-2.0
//
// Compiles the real programs of bpf/ for the host, unchanged, and lists their maps. A program that
// is new there shows here by itself; a new map needs a line.
#define LICENSE license_of_user_heap
#include "user_heap.bpf.c"
#undef LICENSE
#define LICENSE license_of_process_life
#include "process_life.bpf.c"
#undef LICENSE
#define LICENSE license_of_user_mapping
#include "user_mapping.bpf.c"
#undef LICENSE

#include "programs.h"

void weigh_block(__u64 size, __u32 interval, __u64* bytes, __u64* count) {
  struct weight weight;
  weigh(size, interval, &weight);
  *bytes = weight.bytes;
  *count = weight.count;
}

// The pointers of a map declaration carry its numbers as array bounds; nothing is read.
#define NUMBER(map, field) (sizeof(*(map).field) / sizeof(int))
#define MAP(map)                                                               \
  {                                                                            \
#map, &(map), NUMBER(map, type), sizeof(*(map).key), sizeof(*(map).value), \
        NUMBER(map, max_entries)                                               \
  }

const struct host_map host_maps[] = {
    MAP(blocks),
    MAP(sites),
    MAP(stacks),
    MAP(owners),
    MAP(selected),
    MAP(generations),
    MAP(counters),
    MAP(hits),
    MAP(rules),
    MAP(cookies_by_address),
    MAP(allocator_text),
    MAP(threads_by_tid),
    MAP(watched_parents),
    MAP(usdt_arguments),
    {"threads", &threads, NUMBER(threads, type), sizeof(*threads.key), sizeof(*threads.value), 0},
    {"rule_requests", &rule_requests, NUMBER(rule_requests, type), 0, 0,
     NUMBER(rule_requests, max_entries)},
    {"raw_stacks", &raw_stacks, NUMBER(raw_stacks, type), 0, 0, NUMBER(raw_stacks, max_entries)},
    {"mapping_records", &mapping_records, NUMBER(mapping_records, type), 0, 0,
     NUMBER(mapping_records, max_entries)},
    {"life_news", &life_news, NUMBER(life_news, type), 0, 0, NUMBER(life_news, max_entries)},
};
const __u32 host_map_count = sizeof(host_maps) / sizeof(host_maps[0]);
