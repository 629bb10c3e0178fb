// SPDX-License-Identifier: Apache-2.0
//
// Answer: needs nobody to talk to: keep_block() leaks as many blocks of 48 bytes as the first
// argument says (none: a clean program), drop_block() frees again what it takes, 100 times. Then it
// says its ledger on one line and exits with the second argument.
#include "target.h"

static struct target_site sites[] = {{"keep_block", 0, 0, 0, 0, 0}, {"drop_block", 0, 0, 0, 0, 0}};

TARGET_NOINLINE void keep_block(void) {
  void* block = malloc(48);
  TARGET_USE(block);
  target_born(&sites[0], 48);
}

TARGET_NOINLINE void drop_block(void) {
  void* block = malloc(80);
  TARGET_USE(block);
  target_born(&sites[1], 80);
  target_gone(&sites[1], 80);
  free(block);
}

int main(int argc, char** argv) {
  const long kept = target_number(argc, argv, 1, 0);
  for (int i = 0; i < 100; ++i) drop_block();
  for (long i = 0; i < kept; ++i) keep_block();
  target_say_ledger(sites, 2);
  return (int)target_number(argc, argv, 2, 0);
}
