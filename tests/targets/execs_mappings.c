// SPDX-License-Identifier: Apache-2.0
//
// Answer: without an argument, map_before_exec() makes three mappings, then the program calls exec
// of itself, and map_after_exec() makes two. With "before": two mappings that are older than the
// trace go, and of map_after_exec()'s two of 3 pages, one with a page of the old, stay.
#include <sys/mman.h>

#include "target.h"

#define BYTES (3L * 4096)

static TARGET_NOINLINE char* map_before_exec(void) {
  char* at = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  TARGET_USE(at);
  return at;
}

static TARGET_NOINLINE char* map_after_exec(void* place) {
  char* at = mmap(place, BYTES, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | (place != NULL ? MAP_FIXED : 0), -1, 0);
  TARGET_USE(at);
  if (at == MAP_FAILED) _exit(71);
  return at;
}

static void say_two_mappings(void) {
  const struct target_site sites[] = {{"map_after_exec", 2 * BYTES, 2, 2 * BYTES, 2, 0}};
  target_say("done");
  target_say_ledger(sites, 1);
  target_await_quit();
}

static void play_before(void) {
  char* first = map_before_exec();
  char* second = map_before_exec();
  char* third = map_before_exec();
  target_say("ready");
  target_await("go");
  // Over a page of what is older than the trace, and of which the rest goes then.
  if (munmap(first, BYTES) != 0 || munmap(second, BYTES) != 0) _exit(71);
  map_after_exec(NULL);
  map_after_exec(third);
  say_two_mappings();
}

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "before") == 0) play_before();
  if (argc > 1 && strcmp(argv[1], "again") == 0) {
    // A new image's code is known once its maps were read.
    map_after_exec(NULL);
    map_after_exec(NULL);
    say_two_mappings();
  }
  target_say("ready");
  target_await("go");
  for (int i = 0; i < 3; ++i) {
    if (map_before_exec() == MAP_FAILED) return 71;
  }
  char* const words[] = {argv[0], (char*)"again", NULL};
  execv("/proc/self/exe", words);
  return 71;
}
