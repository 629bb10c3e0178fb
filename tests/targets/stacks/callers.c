// SPDX-License-Identifier: Apache-2.0
//
// What assembly calls.
#include <stdlib.h>

#include "stacks.h"

extern void assembly_outer(void (*callee)(void));
extern void assembly_unknown(void (*callee)(void));

TARGET_NOINLINE static void leak_from_assembly(void) {
  STACKS_LEAK(1110);
}

void run_assembly(void) {
  for (int i = 0; i < STACKS_BLOCKS; ++i) assembly_outer(leak_from_assembly);
}

TARGET_NOINLINE static void leak_from_assembly_unknown(void) {
  STACKS_LEAK(1120);
}

void run_assembly_unknown(void) {
  for (int i = 0; i < STACKS_BLOCKS; ++i) assembly_unknown(leak_from_assembly_unknown);
}
