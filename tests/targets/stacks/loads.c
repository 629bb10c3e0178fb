// SPDX-License-Identifier: Apache-2.0
//
// Calls a library that was loaded late, and whose file is gone by then.
#include <dlfcn.h>
#include <stdlib.h>

#include "stacks.h"

static void (*library_entry)(void);

void load_library(const char* path) {
  void* library = dlopen(path, RTLD_NOW);
  if (library == NULL) exit(66);
  *(void**)&library_entry = dlsym(library, "library_entry");
  if (library_entry == NULL) exit(66);
}

void run_library(void) {
  for (int i = 0; i < STACKS_BLOCKS; ++i) library_entry();
}
