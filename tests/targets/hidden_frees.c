// SPDX-License-Identifier: Apache-2.0
//
// Answer: keep_block() keeps what it allocates: a leak. hand_over() keeps nothing: at the end a
// child that shares the memory (clone with CLONE_VM: another process to the kernel) frees all of
// its blocks, which no probe of this process sees (unless the kernel puts them in for whoever runs
// there). For 5 seconds each allocates 10 blocks every 20 ms.
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "target.h"

#define BATCH 10
#define TURNS 250

static void* kept[TURNS * BATCH];
static void* handed_over[TURNS * BATCH];
static char child_stack[64 * 1024] __attribute__((aligned(16)));

TARGET_NOINLINE static void keep_block(int at) {
  char* block = malloc(200);
  TARGET_USE(block);
  memset(block, 'k', 200);
  kept[at] = block;
}

TARGET_NOINLINE static void hand_over(int at) {
  char* block = malloc(1500);
  TARGET_USE(block);
  memset(block, 'h', 1500);
  handed_over[at] = block;
}

static int free_all(void* unused) {
  (void)unused;
  for (int i = 0; i < TURNS * BATCH; ++i) free(handed_over[i]);
  return 0;
}

int main(void) {
  target_say("ready");
  target_await("go");
  const struct timespec nap = {0, 20 * 1000 * 1000};
  for (int turn = 0; turn < TURNS; ++turn) {
    for (int i = 0; i < BATCH; ++i) {
      keep_block(turn * BATCH + i);
      hand_over(turn * BATCH + i);
    }
    nanosleep(&nap, NULL);
  }
  // It borrows this thread's memory, thread-local data included, until it has ended.
  const pid_t child =
      clone(free_all, child_stack + sizeof(child_stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
  if (child < 0 || waitpid(child, NULL, 0) != child) return 71;
  target_say("done");
  target_say("{}");
  target_await_quit();
}
