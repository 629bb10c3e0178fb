// SPDX-License-Identifier: Apache-2.0
//
// An allocator that looks like glibc's: a file called libc-2.x.so with its functions, its banner
// and size words before its blocks, and none of its books. To be preloaded. Never gives anything
// back.
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { kChunk = 1 << 24 };

const char lookalike_banner[] =
    "GNU C Library (of another kind) stable release version " VERSION ".\n";

struct header {
  size_t previous_size;
  size_t size;
};

static char* chunk;
static size_t used = kChunk;

void* memalign(size_t alignment, size_t size) {
  if (size > kChunk / 2 || alignment > 4096) return NULL;
  if (alignment < 16) alignment = 16;
  if (used + size + 3 * alignment + sizeof(struct header) > kChunk) {
    chunk = mmap(NULL, kChunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (chunk == MAP_FAILED) return NULL;
    used = 0;
  }
  used = (used + sizeof(struct header) + alignment - 1) & ~(alignment - 1);
  char* block = chunk + used;
  ((struct header*)block - 1)->size = ((size + 23) & ~(size_t)15) | 1;
  used += (size + 15) & ~(size_t)15;
  return block;
}

void* malloc(size_t size) {
  return memalign(16, size);
}

void free(void* block) {
  __asm__ volatile("" : : "r"(block) : "memory");
}

void* calloc(size_t count, size_t size) {
  return size != 0 && count > kChunk / size ? NULL : malloc(count * size);
}

void* realloc(void* block, size_t size) {
  void* moved = malloc(size);
  if (block == NULL || moved == NULL) return moved;
  const size_t old = ((struct header*)block - 1)->size & ~(size_t)15;
  memcpy(moved, block, old < size ? old : size);
  return moved;
}

int posix_memalign(void** block, size_t alignment, size_t size) {
  *block = memalign(alignment, size);
  return *block == NULL ? ENOMEM : 0;
}
