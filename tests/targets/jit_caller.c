// SPDX-License-Identifier: Apache-2.0
//
// Stands for a program that compiles code at run time: two functions in anonymous memory call what
// they are given. The first is told to profilers in /tmp/perf-PID.map as `compiled_by_target`, the
// second to nobody. Keeps 32 blocks of 200 bytes by the first, 16 of 300 by the second.
#include <stdint.h>
#include <sys/mman.h>

#include "target.h"

static const unsigned char kCallFirstArgument[] = {
    0x55,              // push %rbp
    0x48, 0x89, 0xe5,  // mov %rsp, %rbp
    0xff, 0xd7,        // call *%rdi
    0x5d,              // pop %rbp
    0xc3,              // ret
};

typedef void (*Compiled)(void (*callee)(void));

static struct target_site sites[] = {
    {"keep_by_named", 0, 0, 0, 0, 0},
    {"keep_by_unnamed", 0, 0, 0, 0, 0},
};
static char map_path[64];

static TARGET_NOINLINE void keep_by_named(void) {
  TARGET_USE(malloc(200));
  target_born(&sites[0], 200);
}

static TARGET_NOINLINE void keep_by_unnamed(void) {
  TARGET_USE(malloc(300));
  target_born(&sites[1], 300);
}

static Compiled compile(unsigned char* memory) {
  memcpy(memory, kCallFirstArgument, sizeof(kCallFirstArgument));
  return (Compiled)(uintptr_t)memory;
}

int main(void) {
  unsigned char* memory =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 71;
  const Compiled named = compile(memory);
  const Compiled unnamed = compile(memory + 64);
  snprintf(map_path, sizeof(map_path), "/tmp/perf-%d.map", (int)getpid());
  FILE* map = fopen(map_path, "w");
  if (map == NULL) return 71;
  fprintf(map, "%lx %zx compiled_by_target\n", (unsigned long)(uintptr_t)memory,
          sizeof(kCallFirstArgument));
  fclose(map);
  target_say("ready");
  target_await("go");
  for (int i = 0; i < 32; ++i) named(keep_by_named);
  for (int i = 0; i < 16; ++i) unnamed(keep_by_unnamed);
  target_say("done");
  target_say_ledger(sites, 2);
  target_hear();
  unlink(map_path);
  return 0;
}
