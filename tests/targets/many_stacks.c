// SPDX-License-Identifier: Apache-2.0
//
// Answer: as many call sites as asked for, each with one live block of 32 bytes, allocated in
// leaf(). The stacks differ by the path through left() and right(), one step for each bit of the
// block's number.
//
//   many_stacks [stacks = 100000]     at most 131072
#include "target.h"

enum { DEPTH = 17, BLOCK_BYTES = 32 };

static struct target_site site = {"leaf", 0, 0, 0, 0, 0};

static void step(unsigned long path, int depth);

TARGET_NOINLINE void leaf(void) {
  void* block = malloc(BLOCK_BYTES);
  TARGET_USE(block);
  if (block == NULL) _exit(71);
  target_born(&site, BLOCK_BYTES);
}

// Two functions that do the same would be folded into one: the empty asm tells them apart.
TARGET_NOINLINE void left(unsigned long path, int depth) {
  __asm__ volatile("# left");
  step(path, depth);
  TARGET_USE(&site);
}

TARGET_NOINLINE void right(unsigned long path, int depth) {
  __asm__ volatile("# right");
  step(path, depth);
  TARGET_USE(&site);
}

static inline __attribute__((always_inline)) void step(unsigned long path, int depth) {
  if (depth == 0) {
    leaf();
  } else if (path & 1) {
    right(path >> 1, depth - 1);
  } else {
    left(path >> 1, depth - 1);
  }
}

int main(int argc, char** argv) {
  const long stacks = target_number(argc, argv, 1, 100000);
  if (stacks < 1 || stacks > (1L << DEPTH)) return 64;
  target_say("ready");
  target_await("go");
  for (long i = 0; i < stacks; ++i) step((unsigned long)i, DEPTH);
  target_say("done");
  target_say_ledger(&site, 1);
  target_await_quit();
}
