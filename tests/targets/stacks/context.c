// SPDX-License-Identifier: Apache-2.0
//
// A stack that a program made and went to by swapcontext().
#include <stdlib.h>
#include <ucontext.h>

#include "stacks.h"

static ucontext_t outside, inside;

TARGET_NOINLINE static void leak_from_context(void) {
  STACKS_LEAK(1130);
}

static void context_main(void) {
  for (int i = 0; i < STACKS_BLOCKS; ++i) {
    leak_from_context();
    swapcontext(&inside, &outside);
  }
}

void run_context(void) {
  static char stack[64 * 1024];
  getcontext(&inside);
  inside.uc_stack.ss_sp = stack;
  inside.uc_stack.ss_size = sizeof(stack);
  inside.uc_link = &outside;
  makecontext(&inside, context_main, 0);
  for (int i = 0; i < STACKS_BLOCKS; ++i) swapcontext(&outside, &inside);
}
