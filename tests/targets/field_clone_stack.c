// SPDX-License-Identifier: Apache-2.0
//
// Answer: start_helper() maps 40,960 bytes for the stack of each helper that it clones, and never
// unmaps them. Found in the field as a process that was killed for lack of memory after hours.
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "target.h"

#define STACK_BYTES 40960

static int helper(void* argument) {
  volatile char* byte = argument;
  *byte = 1;
  return 0;
}

static char shared_byte;

static TARGET_NOINLINE int start_helper(void) {
  char* stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  TARGET_USE(stack);
  if (stack == MAP_FAILED) _exit(71);
  return clone(helper, stack + STACK_BYTES, CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD,
               &shared_byte);
}

int main(void) {
  target_say("ready");
  target_await("go");
  for (;;) {
    const int child = start_helper();
    if (child < 0 || waitpid(child, NULL, 0) != child) _exit(71);
    const struct timespec pause = {0, 50 * 1000 * 1000};
    nanosleep(&pause, NULL);
  }
}
