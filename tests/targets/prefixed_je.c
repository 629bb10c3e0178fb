// SPDX-License-Identifier: Apache-2.0
//
// A shared library with the functions of a jemalloc that was built with the prefix je_, which
// Debian does not have; with C23's two frees besides. Blocks come from a mapping of its own and are
// never used again.
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { kChunk = 1 << 26, kAlignment = 64 };

static char* chunk;
static size_t used = kChunk;

// The size stands in the line before the block.
static inline __attribute__((always_inline)) void* take(size_t size) {
  const size_t bytes = (size + 2 * kAlignment - 1) & ~(size_t)(kAlignment - 1);
  if (bytes > kChunk) return NULL;
  if (used + bytes > kChunk) {
    chunk = mmap(NULL, kChunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (chunk == MAP_FAILED) return NULL;
    used = 0;
  }
  char* block = chunk + used + kAlignment;
  used += bytes;
  memcpy(block - kAlignment, &size, sizeof(size));
  return block;
}

static inline __attribute__((always_inline)) void* move(void* old, size_t size) {
  void* block = take(size);
  size_t old_size = 0;
  if (old == NULL || block == NULL) return block;
  memcpy(&old_size, (char*)old - kAlignment, sizeof(old_size));
  memcpy(block, old, old_size < size ? old_size : size);
  return block;
}

static inline __attribute__((always_inline)) void give_back(void* block) {
  const size_t none = 0;
  if (block != NULL) memcpy((char*)block - kAlignment, &none, sizeof(none));
}

void* je_malloc(size_t size) {
  return take(size);
}

void* je_calloc(size_t count, size_t size) {
  return take(count * size);  // fresh pages are zero
}

void* je_realloc(void* block, size_t size) {
  return move(block, size);
}

void* je_aligned_alloc(size_t alignment, size_t size) {
  return alignment <= kAlignment ? take(size) : NULL;
}

void* je_mallocx(size_t size, int flags) {
  return flags == 0 ? take(size) : NULL;
}

void* je_rallocx(void* block, size_t size, int flags) {
  return flags == 0 ? move(block, size) : NULL;
}

void je_free(void* block) {
  give_back(block);
}

void je_dallocx(void* block, int flags) {
  if (flags == 0) give_back(block);
}

void je_sdallocx(void* block, size_t size, int flags) {
  if (flags == 0 && size != 0) give_back(block);
}

void je_free_sized(void* block, size_t size) {
  if (size != 0) give_back(block);
}

void je_free_aligned_sized(void* block, size_t alignment, size_t size) {
  if (size != 0 && alignment <= kAlignment) give_back(block);
}
