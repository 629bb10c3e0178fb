/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Walks at the entry of malloc, and nothing else: what each of them costs, by the kernel's own
 * clock. Ours are those of bpf/lib, unchanged.
 */
#include "../../bpf/lib/raw_stack.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* Frames of the last walk. */
volatile __u32 last_frames = 0;
/* Walks by rules that had to guess, and stacks that found no room to be handed over. */
volatile __u32 guessed_walks = 0;
volatile __u32 lost_stacks = 0;

struct {
  __uint(type, BPF_MAP_TYPE_STACK_TRACE);
  __uint(max_entries, 1024);
  __type(key, u32);
  __uint(value_size, TM_STACK_DEPTH * sizeof(u64));
} stacks_of_the_kernel SEC(".maps");

/* Where the caller of the probed function stands. */
static __always_inline bool caller_of(struct pt_regs* ctx, struct position* at) {
  at->sp = PT_REGS_SP(ctx) + sizeof(u64);
  at->fp = PT_REGS_FP(ctx);
  return bpf_probe_read_user(&at->pc, sizeof(at->pc), (void*)PT_REGS_SP(ctx)) == 0;
}

SEC("uprobe")
int walk_nothing(struct pt_regs* ctx) {
  stay_on_kernel_stack(ctx);
  last_frames = 0;
  return 0;
}

SEC("uprobe")
int walk_kernel(struct pt_regs* ctx) {
  struct thread_state* thread;
  long bytes;

  stay_on_kernel_stack(ctx);
  thread = running_thread(true);
  if (!thread) return 0;
  bytes = bpf_get_stack(ctx, thread->stack.frames, sizeof(thread->stack.frames), BPF_F_USER_STACK);
  last_frames = bytes > 0 ? bytes / sizeof(u64) : 0;
  return 0;
}

SEC("uprobe")
int walk_kernel_id(struct pt_regs* ctx) {
  stay_on_kernel_stack(ctx);
  if (bpf_get_stackid(ctx, &stacks_of_the_kernel, BPF_F_USER_STACK) < 0)
    __sync_fetch_and_add(&lost_stacks, 1);
  return 0;
}

SEC("uprobe")
int walk_rules(struct pt_regs* ctx) {
  struct thread_state* thread;

  stay_on_kernel_stack(ctx);
  thread = running_thread(true);
  if (!thread || !caller_of(ctx, &thread->walk.at)) return 0;
  thread->walk.owner = 1;
  walk_user_stack(thread);
  if (thread->walk.guessed) __sync_fetch_and_add(&guessed_walks, 1);
  last_frames = thread->stack.depth;
  return 0;
}

SEC("uprobe")
int walk_copy(struct pt_regs* ctx) {
  struct position at;

  stay_on_kernel_stack(ctx);
  if (caller_of(ctx, &at) && !hand_over_stack(&at, 1)) __sync_fetch_and_add(&lost_stacks, 1);
  return 0;
}
