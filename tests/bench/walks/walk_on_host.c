// SPDX-License-Identifier: Apache-2.0
//
// Compiles the walk of bpf/ for the host, unchanged. The helpers are those of walk_in_bpf.cpp.
#include "lib/stack.bpf.h"

#include "walk_on_host.h"

static struct thread_state only_thread;

void walk_on_host(__u64 pc, __u64 sp, __u64 fp, __u32 owner, struct tm_stack* walked) {
  only_thread.walk.at = (struct position){.pc = pc, .sp = sp, .fp = fp};
  only_thread.walk.owner = owner;
  walk_user_stack(&only_thread);
  *walked = only_thread.stack;
}

int is_map_of_rules(const void* map) {
  return map == &rules;
}

int is_ring_of_requests(const void* map) {
  return map == &rule_requests;
}

void* room_of_thread(void) {
  return &only_thread;
}
