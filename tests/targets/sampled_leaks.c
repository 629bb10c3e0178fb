// SPDX-License-Identifier: Apache-2.0
//
// Answer: five call sites leak blocks of 16 B, 256 B, 4 KiB, 64 KiB and 1 MiB, as many as the
// ledger says, among churn of all sizes whose blocks are all freed; each thread does its share, in
// an order that the seed decides. Some blocks come by calloc and realloc. Blocks are not written
// to, so that this takes address space more than memory.
//
//   sampled_leaks [seed = 1] [threads = 2] [rounds = 100000]
#include <pthread.h>
#include <stdint.h>

#include "target.h"

enum { MAX_THREADS = 16, CHURNED = 64, LEAKS = 5 };

// One in `rounds_each` rounds leaks a block.
struct leak {
  struct target_site site;
  long bytes;
  long rounds_each;
};

struct worker {
  pthread_t thread;
  uint64_t random;
  void* churned[CHURNED];
  struct leak leaks[LEAKS];
};

static const struct leak kinds[LEAKS] = {
    {{"leak_16", 0, 0, 0, 0, 0}, 16, 1},          {{"leak_256", 0, 0, 0, 0, 0}, 256, 8},
    {{"leak_4k", 0, 0, 0, 0, 0}, 4096, 100},      {{"leak_64k", 0, 0, 0, 0, 0}, 65536, 1000},
    {{"leak_1m", 0, 0, 0, 0, 0}, 1048576, 10000},
};

static struct worker workers[MAX_THREADS];
static pthread_barrier_t start_line;
static long rounds;

static uint64_t next_random(struct worker* worker) {
  worker->random ^= worker->random << 13;
  worker->random ^= worker->random >> 7;
  worker->random ^= worker->random << 17;
  return worker->random;
}

TARGET_NOINLINE void* leak_16(void) {
  void* block = malloc(16);
  TARGET_USE(block);
  return block;
}

TARGET_NOINLINE void* leak_256(void) {
  void* block = calloc(16, 16);
  TARGET_USE(block);
  return block;
}

TARGET_NOINLINE void* leak_4k(void* old) {
  void* block = realloc(old, 4096);
  TARGET_USE(block);
  return block;
}

TARGET_NOINLINE void* leak_64k(void) {
  void* block = malloc(65536);
  TARGET_USE(block);
  return block;
}

TARGET_NOINLINE void* leak_1m(void) {
  void* block = NULL;
  if (posix_memalign(&block, 64, 1048576) != 0) return NULL;
  TARGET_USE(block);
  return block;
}

static void leak_one(struct worker* worker, int kind) {
  struct leak* leak = &worker->leaks[kind];
  void* block = NULL;
  switch (kind) {
    case 0:
      block = leak_16();
      break;
    case 1:
      block = leak_256();
      break;
    case 2:
      block = leak_4k(NULL);
      break;
    case 3:
      block = leak_64k();
      break;
    default:
      block = leak_1m();
  }
  if (block == NULL) _exit(71);
  target_born(&leak->site, leak->bytes);
}

// Allocates, moves and frees: no block of it stays.
TARGET_NOINLINE void churn(struct worker* worker) {
  const uint64_t random = next_random(worker);
  void** place = &worker->churned[random % CHURNED];
  const size_t size = (size_t)16 << (random >> 32) % 13;
  if (*place != NULL && (random >> 40) % 8 == 0) {
    void* moved = realloc(*place, size);
    if (moved == NULL) _exit(71);
    *place = moved;
  } else {
    free(*place);
    *place = malloc(size);
  }
  TARGET_USE(*place);
}

static void* worker_main(void* argument) {
  struct worker* worker = argument;
  pthread_barrier_wait(&start_line);
  for (long i = 0; i < rounds; ++i) {
    churn(worker);
    for (int kind = 0; kind < LEAKS; ++kind) {
      if (next_random(worker) % (uint64_t)kinds[kind].rounds_each == 0) leak_one(worker, kind);
    }
  }
  for (int i = 0; i < CHURNED; ++i) free(worker->churned[i]);
  return NULL;
}

int main(int argc, char** argv) {
  const long seed = target_number(argc, argv, 1, 1);
  const long threads = target_number(argc, argv, 2, 2);
  rounds = target_number(argc, argv, 3, 100000);
  if (seed < 1 || threads < 1 || threads > MAX_THREADS || rounds < 1) return 64;
  pthread_barrier_init(&start_line, NULL, (unsigned)threads + 1);
  for (long i = 0; i < threads; ++i) {
    workers[i].random = (uint64_t)seed * 0x9e3779b97f4a7c15u + (uint64_t)i + 1;
    memcpy(workers[i].leaks, kinds, sizeof(kinds));
    if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) != 0) return 71;
  }
  target_say("ready");
  target_await("go");
  pthread_barrier_wait(&start_line);
  for (long i = 0; i < threads; ++i) pthread_join(workers[i].thread, NULL);
  struct target_site sums[LEAKS];
  for (int kind = 0; kind < LEAKS; ++kind) {
    sums[kind] = kinds[kind].site;
    for (long i = 0; i < threads; ++i) {
      const struct target_site* site = &workers[i].leaks[kind].site;
      sums[kind].live_bytes += site->live_bytes;
      sums[kind].live_count += site->live_count;
      sums[kind].total_bytes += site->total_bytes;
      sums[kind].total_count += site->total_count;
    }
  }
  target_say("done");
  target_say_ledger(sums, LEAKS);
  target_await_quit();
}
