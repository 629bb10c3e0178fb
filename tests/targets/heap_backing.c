// SPDX-License-Identifier: Apache-2.0
//
// Answer: THREADS threads each keep 40 blocks of 300,000 bytes, which glibc maps one by one, and
// 4,000 of 1,000 bytes, for which it makes arenas and moves the break; these blocks are the memory
// in use, and what glibc mapped for them is no memory besides. The only mapping of the program's
// own is one of 1 MiB. Before all that each of THREADS more threads frees a block as the first
// thing that it does with the heap: glibc makes its arena then.
//
//   heap_backing [THREADS]
#include <pthread.h>
#include <sys/mman.h>

#include "target.h"

#define LARGE_BYTES 300000
#define LARGE_COUNT 40
#define SMALL_BYTES 1000
#define SMALL_COUNT 4000
#define MAX_THREADS 32
#define OWN_BYTES (1L << 20)

static pthread_barrier_t first_frees, start_line, all_there, finish_line;
static void* kept[MAX_THREADS][LARGE_COUNT + SMALL_COUNT];

static TARGET_NOINLINE void* site_large(void) {
  void* block = malloc(LARGE_BYTES);
  TARGET_USE(block);
  return block;
}

static TARGET_NOINLINE void* site_small(void) {
  void* block = malloc(SMALL_BYTES);
  TARGET_USE(block);
  return block;
}

static TARGET_NOINLINE void* site_own_mapping(void) {
  void* at = mmap(NULL, OWN_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  TARGET_USE(at);
  return at;
}

// The block is of the main thread, and of a size that goes into the thread's cache.
static void* free_one(void* block) {
  pthread_barrier_wait(&first_frees);
  free(block);
  pthread_barrier_wait(&first_frees);
  pthread_barrier_wait(&finish_line);
  pthread_barrier_wait(&finish_line);
  return NULL;
}

static void* thread_main(void* argument) {
  void** mine = argument;
  pthread_barrier_wait(&start_line);
  for (int i = 0; i < LARGE_COUNT; ++i) mine[i] = site_large();
  for (int i = 0; i < SMALL_COUNT; ++i) mine[LARGE_COUNT + i] = site_small();
  for (int i = 0; i < LARGE_COUNT + SMALL_COUNT; ++i) {
    if (mine[i] == NULL) _exit(71);
  }
  // One goes: its mapping with it. Not before all are there, since glibc takes that as a sign that
  // blocks of this size come and go, and maps no more of them one by one.
  pthread_barrier_wait(&all_there);
  free(mine[0]);
  pthread_barrier_wait(&finish_line);
  pthread_barrier_wait(&finish_line);
  return NULL;
}

int main(int argc, char** argv) {
  const long threads = target_number(argc, argv, 1, 8);
  if (threads < 1 || threads > MAX_THREADS) return 64;
  pthread_barrier_init(&start_line, NULL, (unsigned)threads + 1);
  pthread_barrier_init(&all_there, NULL, (unsigned)threads);
  pthread_barrier_init(&first_frees, NULL, (unsigned)threads + 1);
  pthread_barrier_init(&finish_line, NULL, 2 * (unsigned)threads + 1);
  for (long i = 0; i < threads; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, thread_main, kept[i]) != 0) return 71;
    if (pthread_create(&thread, NULL, free_one, malloc(SMALL_BYTES)) != 0) return 71;
  }
  target_say("ready");
  target_await("go");
  pthread_barrier_wait(&first_frees);
  pthread_barrier_wait(&first_frees);
  pthread_barrier_wait(&start_line);
  if (site_own_mapping() == MAP_FAILED) return 71;
  pthread_barrier_wait(&finish_line);
  target_say("done");
  const long large = threads * LARGE_COUNT;
  const long small = threads * SMALL_COUNT;
  const struct target_site sites[] = {
      {"site_large", (large - threads) * LARGE_BYTES, large - threads, large * LARGE_BYTES, large,
       threads},
      {"site_small", small * SMALL_BYTES, small, small * SMALL_BYTES, small, 0},
      {"site_own_mapping", OWN_BYTES, 1, OWN_BYTES, 1, 0}};
  target_say_ledger(sites, 3);
  target_await_quit();
}
