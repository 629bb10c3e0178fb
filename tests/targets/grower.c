// SPDX-License-Identifier: Apache-2.0
//
// Answer: after `go`, grow_here() keeps so many KiB a second for so long, touching each page; the
// other ways to use memory are no growth: churn_here() gives back what it has touched, and
// jump_here() takes its part at once and no more. wander_here() touches 40 times 1,000 pages on one
// processor and 33 on another, which is one more than the kernel counts on each by itself.
//
//   grower KIB_PER_SECOND SECONDS [churn|jump|wander]
//
// Says `done` at the end of its time, or when it is told to `stop`, and the ledger of grow_here()
// in heap blocks.
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#include "target.h"

#define TICKS_PER_SECOND 20
#define CHURN_BYTES (4L << 20)
#define JUMP_BYTES (16L << 20)
#define PAGE_BYTES 4096L
#define WANDER_TIMES 40
#define WANDER_MANY 1000
#define WANDER_FEW 33

static struct target_site grown = {"grow_here", 0, 0, 0, 0, 0};

static TARGET_NOINLINE void grow_here(long bytes) {
  char* block = malloc((size_t)bytes);
  TARGET_USE(block);
  if (block == NULL) _exit(71);
  memset(block, 1, (size_t)bytes);
  TARGET_USE(block);
  target_born(&grown, bytes);
}

static TARGET_NOINLINE void churn_here(void) {
  char* memory =
      mmap(NULL, CHURN_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) _exit(71);
  memset(memory, 1, CHURN_BYTES);
  TARGET_USE(memory);
  munmap(memory, CHURN_BYTES);
}

static TARGET_NOINLINE void jump_here(void) {
  char* block = malloc(JUMP_BYTES);
  if (block == NULL) _exit(71);
  memset(block, 1, JUMP_BYTES);
  TARGET_USE(block);
}

static char* touch_on(int processor, char* at, long pages) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(processor, &one);
  if (sched_setaffinity(0, sizeof(one), &one) != 0) _exit(71);
  for (; pages > 0; --pages, at += PAGE_BYTES) *(volatile char*)at = 1;
  return at;
}

static TARGET_NOINLINE void wander_here(void) {
  const long bytes = WANDER_TIMES * (WANDER_MANY + WANDER_FEW) * PAGE_BYTES;
  char* at = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  TARGET_USE(at);
  if (at == MAP_FAILED || madvise(at, (size_t)bytes, MADV_NOHUGEPAGE) != 0) _exit(71);
  for (int i = 0; i < WANDER_TIMES; ++i) {
    at = touch_on(1, at, WANDER_MANY);
    at = touch_on(0, at, WANDER_FEW);
  }
}

static int is_told_to_stop(void) {
  struct pollfd input = {STDIN_FILENO, POLLIN, 0};
  if (poll(&input, 1, 0) <= 0) return 0;
  target_await("stop");
  return 1;
}

int main(int argc, char** argv) {
  const long bytes_per_tick = target_number(argc, argv, 1, 256) * 1024 / TICKS_PER_SECOND;
  const long ticks = target_number(argc, argv, 2, 10) * TICKS_PER_SECOND;
  const char* mode = argc > 3 ? argv[3] : "";
  const struct timespec tick = {0, 1000000000L / TICKS_PER_SECOND};
  target_say("ready");
  target_await("go");
  if (strcmp(mode, "jump") == 0) jump_here();
  if (strcmp(mode, "wander") == 0) wander_here();
  for (long i = 0; i < ticks && !is_told_to_stop(); ++i) {
    if (bytes_per_tick > 0) grow_here(bytes_per_tick);
    if (strcmp(mode, "churn") == 0) churn_here();
    nanosleep(&tick, NULL);
  }
  target_say("done");
  target_say_ledger(&grown, 1);
  target_await_quit();
}
