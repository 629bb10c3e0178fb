// SPDX-License-Identifier: Apache-2.0
//
// Answer: parent_blocks() leaks 200 blocks of 72 bytes, then the process forks. The child frees
// half of what it inherited and leaks 50 blocks of 36 bytes in child_blocks(). Of the parent that
// changes nothing: its ledger is parent_blocks alone, 200 blocks.
#include <sys/wait.h>

#include "target.h"

enum { PARENT_BLOCKS = 200, CHILD_BLOCKS = 50 };

static struct target_site site = {"parent_blocks", 0, 0, 0, 0, 0};
static void* inherited[PARENT_BLOCKS];

TARGET_NOINLINE void* parent_blocks(void) {
  void* block = malloc(72);
  TARGET_USE(block);
  target_born(&site, 72);
  return block;
}

TARGET_NOINLINE void child_blocks(void) {
  void* block = malloc(36);
  TARGET_USE(block);
}

static void be_the_child(void) {
  for (int i = 0; i < PARENT_BLOCKS; i += 2) free(inherited[i]);
  for (int i = 0; i < CHILD_BLOCKS; ++i) child_blocks();
  _exit(0);
}

int main(void) {
  target_say("ready");
  target_await("go");
  for (int i = 0; i < PARENT_BLOCKS; ++i) inherited[i] = parent_blocks();
  const pid_t child = fork();
  if (child < 0) return 71;
  if (child == 0) be_the_child();
  if (waitpid(child, NULL, 0) != child) return 71;
  target_say("done");
  target_say_ledger(&site, 1);
  target_await_quit();
}
