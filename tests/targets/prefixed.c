// SPDX-License-Identifier: Apache-2.0
//
// Answer: the ledger that it says. A program that calls an allocator by the names of its prefix,
// beside the C library's malloc: which one is said when it is compiled (PREFIXED_MIMALLOC, or the
// family of prefixed_je.c). Each function has a call site of its own, and one block of three is
// kept.
//
//   prefixed [rounds = 1000]
#include "target.h"

#ifdef PREFIXED_MIMALLOC
#define NAME(function) mi_##function
#else
#define NAME(function) je_##function
#endif

void* NAME(malloc)(size_t size);
void* NAME(calloc)(size_t count, size_t size);
void* NAME(realloc)(void* block, size_t size);
void NAME(free)(void* block);
#ifdef PREFIXED_MIMALLOC
void* mi_zalloc(size_t size);
void* mi_malloc_aligned(size_t size, size_t alignment);
void mi_free_size(void* block, size_t size);
void mi_free_aligned(void* block, size_t alignment);
#else
void* je_mallocx(size_t size, int flags);
void* je_rallocx(void* block, size_t size, int flags);
void je_dallocx(void* block, int flags);
void je_sdallocx(void* block, size_t size, int flags);
void* je_aligned_alloc(size_t alignment, size_t size);
void je_free_sized(void* block, size_t size);
void je_free_aligned_sized(void* block, size_t alignment, size_t size);
#endif

enum { ALIGNMENT = 64 };
enum site { MALLOC, CALLOC, REALLOC, OWN, ALIGNED, LIBC, SITES };

static struct target_site sites[SITES] = {
    {"site_malloc", 0, 0, 0, 0, 0},  {"site_calloc", 0, 0, 0, 0, 0},
    {"site_realloc", 0, 0, 0, 0, 0}, {"site_own", 0, 0, 0, 0, 0},
    {"site_aligned", 0, 0, 0, 0, 0}, {"site_libc", 0, 0, 0, 0, 0}};

static void* born(enum site site, void* block, long bytes) {
  TARGET_USE(block);
  if (block == NULL) _exit(71);
  target_born(&sites[site], bytes);
  return block;
}

static void gone(enum site site, long bytes) {
  target_gone(&sites[site], bytes);
}

TARGET_NOINLINE void site_malloc(long size, int keep) {
  void* block = born(MALLOC, NAME(malloc)((size_t)size), size);
  if (keep) return;
  NAME(free)(block);
  gone(MALLOC, size);
}

TARGET_NOINLINE void site_calloc(long size, int keep) {
  void* block = born(CALLOC, NAME(calloc)(3, (size_t)size), 3 * size);
  if (keep) return;
#ifdef PREFIXED_MIMALLOC
  mi_free_size(block, 3 * (size_t)size);
#else
  je_free_sized(block, 3 * (size_t)size);
#endif
  gone(CALLOC, 3 * size);
}

// Grown once: the block is the second call's.
TARGET_NOINLINE void site_realloc(long size, int keep) {
  void* block = born(REALLOC, NAME(realloc)(NULL, (size_t)size), size);
  gone(REALLOC, size);
#ifdef PREFIXED_MIMALLOC
  block = born(REALLOC, mi_realloc(block, 2 * (size_t)size), 2 * size);
#else
  block = born(REALLOC, je_rallocx(block, 2 * (size_t)size, 0), 2 * size);
#endif
  if (keep) return;
  NAME(free)(block);
  gone(REALLOC, 2 * size);
}

TARGET_NOINLINE void site_own(long size, int keep) {
#ifdef PREFIXED_MIMALLOC
  void* block = born(OWN, mi_zalloc((size_t)size), size);
  if (keep) return;
  mi_free(block);
#else
  void* block = born(OWN, je_mallocx((size_t)size, 0), size);
  if (keep) return;
  if (size % 2 == 0)
    je_dallocx(block, 0);
  else
    je_sdallocx(block, (size_t)size, 0);
#endif
  gone(OWN, size);
}

TARGET_NOINLINE void site_aligned(long size, int keep) {
#ifdef PREFIXED_MIMALLOC
  void* block = born(ALIGNED, mi_malloc_aligned((size_t)size, ALIGNMENT), size);
  if (keep) return;
  mi_free_aligned(block, ALIGNMENT);
#else
  void* block = born(ALIGNED, je_aligned_alloc(ALIGNMENT, (size_t)size), size);
  if (keep) return;
  je_free_aligned_sized(block, ALIGNMENT, (size_t)size);
#endif
  gone(ALIGNED, size);
}

TARGET_NOINLINE void site_libc(long size, int keep) {
  void* block = born(LIBC, malloc((size_t)size), size);
  if (keep) return;
  free(block);
  gone(LIBC, size);
}

int main(int argc, char** argv) {
  const long rounds = target_number(argc, argv, 1, 1000);
  target_say("ready");
  target_await("go");
  for (long i = 0; i < rounds; ++i) {
    const long size = 16 + i % 400;
    const int keep = i % 3 == 0;
    site_malloc(size, keep);
    site_calloc(size, keep);
    site_realloc(size, keep);
    site_own(size, keep);
    site_aligned(size, keep);
    site_libc(size, keep);
  }
  target_say("done");
  target_say_ledger(sites, SITES);
  target_await_quit();
}
