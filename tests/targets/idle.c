// SPDX-License-Identifier: Apache-2.0
//
// Answer: nothing. It has an allocator and never calls it after `ready`.
#include "target.h"

int main(void) {
  target_say("ready");
  target_await_quit();
}
