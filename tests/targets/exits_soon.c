// SPDX-License-Identifier: Apache-2.0
//
// Answer: after `go` leave_behind() leaks as many blocks of 48 bytes as asked for, then the process
// exits by itself with code 7.
//
//   exits_soon [blocks = 100]
#include "target.h"

static struct target_site site = {"leave_behind", 0, 0, 0, 0, 0};

TARGET_NOINLINE void leave_behind(void) {
  void* block = malloc(48);
  TARGET_USE(block);
  target_born(&site, 48);
}

int main(int argc, char** argv) {
  const long blocks = target_number(argc, argv, 1, 100);
  target_say("ready");
  target_await("go");
  for (long i = 0; i < blocks; ++i) leave_behind();
  target_say("done");
  target_say_ledger(&site, 1);
  _exit(7);
}
