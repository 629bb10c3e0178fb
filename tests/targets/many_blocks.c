// SPDX-License-Identifier: Apache-2.0
//
// Answer: as many live blocks of 24 bytes as asked for, all from allocate_block(); after the
// command `half` every second one is freed (by release_block), so half of them, rounded down, stay.
// A ledger is said after each.
//
//   many_blocks [blocks = 2000000]
#include "target.h"

enum { BLOCK_BYTES = 24 };

static struct target_site site = {"allocate_block", 0, 0, 0, 0, 0};

TARGET_NOINLINE void* allocate_block(void) {
  void* block = malloc(BLOCK_BYTES);
  TARGET_USE(block);
  if (block == NULL) _exit(71);
  target_born(&site, BLOCK_BYTES);
  return block;
}

TARGET_NOINLINE void release_block(void* block) {
  free(block);
  TARGET_USE(&site);
  target_gone(&site, BLOCK_BYTES);
}

int main(int argc, char** argv) {
  const long count = target_number(argc, argv, 1, 2000000);
  if (count < 1) return 64;
  void** blocks = calloc((size_t)count, sizeof(*blocks));
  if (blocks == NULL) return 71;
  target_say("ready");
  target_await("go");
  for (long i = 0; i < count; ++i) blocks[i] = allocate_block();
  target_say("done");
  target_say_ledger(&site, 1);
  target_await("half");
  for (long i = 0; i < count; i += 2) release_block(blocks[i]);
  target_say("done");
  target_say_ledger(&site, 1);
  target_await_quit();
}
