// SPDX-License-Identifier: Apache-2.0
//
// Answer: no block stays live. For each line `window N` every thread does N calls of one kind below
// the given number of frames, and the target says the nanoseconds of thread CPU time that a call
// took, a mean over the threads. Kinds: a pair of free(malloc(64)), a pair of munmap(mmap(4096)),
// getppid(), which changes no mapping.
//
//   alloc_bench [depth = 8] [threads = 1] [malloc | mmap | getppid]
#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <time.h>

#include "target.h"

enum { MAX_THREADS = 64, BLOCK_BYTES = 64, MAPPING_BYTES = 4096 };

struct worker {
  pthread_t thread;
  double nanoseconds;
};

static struct worker workers[MAX_THREADS];
static pthread_barrier_t start_line;
static pthread_barrier_t finish_line;
static long depth;
static volatile long calls;
static void (*repeat)(long count);

static double cpu_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void repeat_malloc(long count) {
  for (long i = 0; i < count; ++i) {
    void* block = malloc(BLOCK_BYTES);
    TARGET_USE(block);
    free(block);
  }
}

static void repeat_mmap(long count) {
  for (long i = 0; i < count; ++i) {
    void* place =
        mmap(NULL, MAPPING_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TARGET_USE(place);
    if (place == MAP_FAILED || munmap(place, MAPPING_BYTES) != 0) _exit(71);
  }
}

static void repeat_getppid(long count) {
  for (long i = 0; i < count; ++i) (void)getppid();
}

static bool choose(const char* kind) {
  if (strcmp(kind, "malloc") == 0) repeat = repeat_malloc;
  if (strcmp(kind, "mmap") == 0) repeat = repeat_mmap;
  if (strcmp(kind, "getppid") == 0) repeat = repeat_getppid;
  return repeat != NULL;
}

TARGET_NOINLINE double run_calls(void) {
  const double begin = cpu_nanoseconds();
  repeat(calls);
  return cpu_nanoseconds() - begin;
}

TARGET_NOINLINE double descend(long frames) {
  const double result = frames <= 0 ? run_calls() : descend(frames - 1);
  TARGET_USE(&workers);
  return result;
}

static void* worker_main(void* argument) {
  struct worker* worker = argument;
  for (;;) {
    pthread_barrier_wait(&start_line);
    worker->nanoseconds = descend(depth);
    pthread_barrier_wait(&finish_line);
  }
  return NULL;
}

static void run_window(long threads) {
  double sum = 0;
  pthread_barrier_wait(&start_line);
  pthread_barrier_wait(&finish_line);
  for (long i = 0; i < threads; ++i) sum += workers[i].nanoseconds;
  target_text_length = 0;
  target_add("%.1f", sum / (double)(calls * threads));
  target_say(target_text);
}

int main(int argc, char** argv) {
  const long threads = target_number(argc, argv, 2, 1);
  depth = target_number(argc, argv, 1, 8);
  if (threads < 1 || threads > MAX_THREADS || depth < 0 || depth > 1000) return 64;
  if (!choose(argc > 3 ? argv[3] : "malloc")) return 64;
  pthread_barrier_init(&start_line, NULL, (unsigned)threads + 1);
  pthread_barrier_init(&finish_line, NULL, (unsigned)threads + 1);
  for (long i = 0; i < threads; ++i) {
    if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) != 0) return 71;
  }
  target_say("ready");
  const char* line;
  while ((line = target_hear()) != NULL && strncmp(line, "window ", 7) == 0) {
    calls = strtol(line + 7, NULL, 10);
    if (calls < 1) return 64;
    run_window(threads);
  }
  _exit(0);
}
