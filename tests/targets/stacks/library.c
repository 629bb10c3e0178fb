// SPDX-License-Identifier: Apache-2.0
//
// The library of `stacks load`: its file is gone when it is called.
#include <stdlib.h>

#include "stacks.h"

TARGET_NOINLINE static void leak_from_library(void) {
  STACKS_LEAK(1170);
}

void library_entry(void);
void library_entry(void) {
  leak_from_library();
  STACKS_RETURN();
}
