// SPDX-License-Identifier: Apache-2.0
//
// Answer: the ledger that it says. A program that tells of allocations by OpenTelemetry's probes,
// otel_memory:alloc and :free, while somebody looks (their semaphores). site_pool takes blocks out
// of a mapping that no malloc knows: each told one stands for WEIGHT bytes. site_wrapped tells of
// blocks that malloc gave out, from 16 bytes on: they are counted once, as malloc's. One of three
// blocks is kept. On the word `quiet` it says whether nobody looks any more: `quiet` or `watched`.
//
//   otel [rounds = 300]
#define _SDT_HAS_SEMAPHORES 1
#include <sys/mman.h>
#include <sys/sdt.h>

#include "target.h"

enum { BLOCK = 64, WEIGHT = 4096, HEADER = 16, POOL_BYTES = 1 << 24 };
enum site { POOL, WRAPPED, SITES };

volatile unsigned short otel_memory_alloc_semaphore __attribute__((section(".probes")));
volatile unsigned short otel_memory_free_semaphore __attribute__((section(".probes")));

static struct target_site sites[SITES] = {{"site_pool", 0, 0, 0, 0, 0},
                                          {"site_wrapped", 0, 0, 0, 0, 0}};
static char* pool;

TARGET_NOINLINE void site_pool(int keep) {
  char* block = pool;
  pool += BLOCK;
  if (otel_memory_alloc_semaphore == 0) return;
  STAP_PROBE3(otel_memory, alloc, block, (size_t)BLOCK, (size_t)WEIGHT);
  target_born(&sites[POOL], WEIGHT);
  if (keep) return;
  STAP_PROBE1(otel_memory, free, block);
  target_gone(&sites[POOL], WEIGHT);
}

TARGET_NOINLINE void site_wrapped(size_t size, int keep) {
  char* block = malloc(HEADER + size);
  TARGET_USE(block);
  if (block == NULL) _exit(71);
  STAP_PROBE3(otel_memory, alloc, block + HEADER, size, (size_t)WEIGHT);
  target_born(&sites[WRAPPED], (long)(HEADER + size));
  if (keep) return;
  STAP_PROBE1(otel_memory, free, block + HEADER);
  free(block);
  target_gone(&sites[WRAPPED], (long)(HEADER + size));
}

int main(int argc, char** argv) {
  const long rounds = target_number(argc, argv, 1, 300);
  pool = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pool == MAP_FAILED || rounds * BLOCK > POOL_BYTES) return 71;
  target_say(otel_memory_alloc_semaphore == 0 ? "ready" : "watched");
  target_await("go");
  for (long i = 0; i < rounds; ++i) {
    site_pool(i % 3 == 0);
    site_wrapped(32 + (size_t)i % 100, i % 3 == 0);
  }
  target_say("done");
  target_say_ledger(sites, SITES);
  target_await("quiet");
  target_say(otel_memory_alloc_semaphore == 0 && otel_memory_free_semaphore == 0 ? "quiet"
                                                                                 : "watched");
  target_await_quit();
}
