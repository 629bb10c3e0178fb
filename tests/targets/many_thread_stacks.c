// SPDX-License-Identifier: Apache-2.0
//
// Answer: THREADS threads with stacks of 32 MiB each, of which nearly nothing is in memory:
// start_pool() makes them. Besides, touch_half() maps 8 MiB and touches the first half of them,
// twice: the second time it gives the pages back by MADV_DONTNEED, and keeps the address space.
//
//   many_thread_stacks [THREADS]
#include <pthread.h>
#include <sys/mman.h>

#include "target.h"

#define STACK_BYTES (32L << 20)
#define BUFFER_BYTES (8L << 20)
#define MAX_THREADS 1024

static pthread_barrier_t all_run;
static pthread_mutex_t never = PTHREAD_MUTEX_INITIALIZER;

static void* idle(void* argument) {
  pthread_barrier_wait(&all_run);
  pthread_mutex_lock(&never);
  return argument;
}

static TARGET_NOINLINE void start_pool(long threads) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  for (long i = 0; i < threads; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, idle, NULL) != 0) _exit(71);
  }
}

static TARGET_NOINLINE char* touch_half(void) {
  char* at = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  TARGET_USE(at);
  if (at == MAP_FAILED || madvise(at, BUFFER_BYTES, MADV_NOHUGEPAGE) != 0) _exit(71);
  memset(at, 1, BUFFER_BYTES / 2);
  return at;
}

int main(int argc, char** argv) {
  const long threads = target_number(argc, argv, 1, 96);
  if (threads < 1 || threads > MAX_THREADS) return 64;
  pthread_mutex_lock(&never);
  pthread_barrier_init(&all_run, NULL, (unsigned)threads + 1);
  target_say("ready");
  target_await("go");
  start_pool(threads);
  pthread_barrier_wait(&all_run);
  char* kept = touch_half();
  char* given_back = touch_half();
  if (madvise(given_back, BUFFER_BYTES, MADV_DONTNEED) != 0) return 71;
  TARGET_USE(kept);
  target_say("done");
  const struct target_site sites[] = {{"touch_half", 2 * BUFFER_BYTES, 2, 2 * BUFFER_BYTES, 2, 0}};
  target_say_ledger(sites, 1);
  target_await_quit();
}
