// SPDX-License-Identifier: Apache-2.0
//
// Answer: nothing is allocated by malloc. Memory grows by 32 MiB, handed out by pool_alloc(), of
// which no tracer can know; it can see that it does not see, and name pool_alloc and pool_free.
#include <sys/mman.h>

#include "target.h"

enum { kBlock = 4096, kBlocks = 8192 };

static char* pool;
static size_t used;

TARGET_NOINLINE void* pool_alloc(size_t size) {
  void* block = pool + used;
  used += size;
  return block;
}

TARGET_NOINLINE void pool_free(void* block) {
  if ((char*)block + kBlock == pool + used) used -= kBlock;
}

int main(void) {
  pool = mmap(NULL, (size_t)kBlock * kBlocks, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
              -1, 0);
  if (pool == MAP_FAILED) return 71;
  target_say("ready");
  target_await("go");
  for (int i = 0; i < kBlocks; ++i) memset(pool_alloc(kBlock), i, kBlock);
  target_say("done");
  target_say_ledger(NULL, 0);
  target_await_quit();
  pool_free(pool);
}
