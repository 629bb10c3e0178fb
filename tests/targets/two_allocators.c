// SPDX-License-Identifier: Apache-2.0
//
// Answer: the ledger that it says. Two allocators in one process, the second one calling the first:
// nothing is counted twice, and each call site carries the name of its allocator.
//
//   two_allocators LIBRARY [early]
//
// It loads LIBRARY by dlopen, as it is called with `early` at the start, else on the word `load`,
// to which it answers `loaded`.
#include <dlfcn.h>
#include <malloc.h>

#include "target.h"

enum { kRounds = 2000 };
enum site { LIBC, OWN, OWN_LARGE, OWN_CALLOC, OWN_REALLOC, SITES };

static struct target_site sites[SITES] = {{"site_libc", 0, 0, 0, 0, 0},
                                          {"site_own", 0, 0, 0, 0, 0},
                                          {"site_own_large", 0, 0, 0, 0, 0},
                                          {"site_own_calloc", 0, 0, 0, 0, 0},
                                          {"site_own_realloc", 0, 0, 0, 0, 0}};
static void* (*own_malloc)(size_t);
static void* (*own_calloc)(size_t, size_t);
static void* (*own_realloc)(void*, size_t);
static void (*own_free)(void*);

static void load(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) _exit(72);
  *(void**)&own_malloc = dlsym(library, "malloc");
  *(void**)&own_calloc = dlsym(library, "calloc");
  *(void**)&own_realloc = dlsym(library, "realloc");
  *(void**)&own_free = dlsym(library, "free");
}

TARGET_NOINLINE void site_libc(size_t size, int keep) {
  void* block = malloc(size);
  TARGET_USE(block);
  target_born(&sites[LIBC], (long)size);
  if (keep) return;
  free(block);
  target_gone(&sites[LIBC], (long)size);
}

TARGET_NOINLINE void site_own(size_t size, int keep) {
  void* block = own_malloc(size);
  TARGET_USE(block);
  target_born(&sites[OWN], (long)size);
  if (keep) return;
  own_free(block);
  target_gone(&sites[OWN], (long)size);
}

TARGET_NOINLINE void site_own_large(size_t size, int keep) {
  void* block = own_malloc(size);
  TARGET_USE(block);
  target_born(&sites[OWN_LARGE], (long)size);
  if (keep) return;
  own_free(block);
  target_gone(&sites[OWN_LARGE], (long)size);
}

TARGET_NOINLINE void* site_own_calloc(size_t count, size_t size) {
  void* block = own_calloc(count, size);
  TARGET_USE(block);
  target_born(&sites[OWN_CALLOC], (long)(count * size));
  return block;
}

TARGET_NOINLINE void site_own_realloc(void* block, long old_size, size_t size) {
  void* moved = own_realloc(block, size);
  TARGET_USE(moved);
  target_gone(&sites[OWN_CALLOC], old_size);
  target_born(&sites[OWN_REALLOC], (long)size);
}

int main(int argc, char** argv) {
  if (argc < 2) return 64;
  const int early = argc > 2;
  if (early) load(argv[1]);
  target_say("ready");
  if (!early) {
    target_await("load");
    load(argv[1]);
    target_say("loaded");
  }
  target_await("go");
  for (int i = 0; i < kRounds; ++i) {
    site_libc((size_t)(10 + i % 500), i % 3 == 0);
    site_own((size_t)(10 + i % 500), i % 4 == 0);
    site_own_large((size_t)(4000 + i), i % 5 == 0);
    void* block = site_own_calloc(3, 100);
    site_own_realloc(block, 300, i % 2 == 0 ? 700 : 5000);
  }
  target_say("done");
  target_say_ledger(sites, SITES);
  target_await_quit();
}
