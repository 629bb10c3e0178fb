// SPDX-License-Identifier: Apache-2.0
//
// Answer: a supervisor and its workers, one at a time, each leaking in leak_block() what it is
// told: blocks of 4,096 bytes that it writes to. However many workers there were, it is one call
// site.
//
//   leak N     the worker leaks N blocks, then it says `leaked`
//   burst      the worker leaks until somebody kills it
//   kill       the supervisor kills the worker
//   done       the ledger of all workers together
//
// Whenever a worker has died the supervisor says `died SIGNAL` and starts the next, and says
// `worker PID`. The count lies in memory that all share; a worker that is killed between malloc's
// return and its note of it has one more block than noted.
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "target.h"

enum { BLOCK_BYTES = 4096 };

static struct target_site* site;
static int orders[2];
static pid_t worker;

TARGET_NOINLINE bool leak_block(void) {
  char* block = malloc(BLOCK_BYTES);
  if (block == NULL) return false;
  target_born(site, BLOCK_BYTES);
  memset(block, 1, BLOCK_BYTES);
  TARGET_USE(block);
  return true;
}

static void be_the_worker(void) {
  long count;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (read(orders[0], &count, sizeof(count)) == sizeof(count)) {
    for (long i = 0; i != count; ++i) {
      if (!leak_block()) _exit(72);
    }
    target_say("leaked");
  }
  _exit(0);
}

static void start_worker(void) {
  char line[64];
  if (pipe(orders) != 0) _exit(71);
  worker = fork();
  if (worker < 0) _exit(71);
  if (worker == 0) {
    close(orders[1]);
    be_the_worker();
  }
  close(orders[0]);
  snprintf(line, sizeof(line), "worker %d", worker);
  target_say(line);
}

static void order(long count) {
  if (write(orders[1], &count, sizeof(count)) != sizeof(count)) _exit(71);
}

static void see_it_die(void) {
  char line[64];
  int status = 0;
  if (waitpid(worker, &status, 0) != worker) _exit(71);
  close(orders[1]);
  snprintf(line, sizeof(line), "died %d", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  target_say(line);
}

// Until the worker is dead; false at the end.
static bool obey(void) {
  for (const char* line = target_hear(); line != NULL; line = target_hear()) {
    if (strncmp(line, "leak ", 5) == 0) {
      order(strtol(line + 5, NULL, 10));
    } else if (strcmp(line, "burst") == 0) {
      order(-1);
      see_it_die();
      return true;
    } else if (strcmp(line, "kill") == 0) {
      kill(worker, SIGKILL);
      see_it_die();
      return true;
    } else if (strcmp(line, "done") == 0) {
      target_say("done");
      target_say_ledger(site, 1);
    } else {
      return false;
    }
  }
  return false;
}

int main(void) {
  site = mmap(NULL, sizeof(*site), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (site == MAP_FAILED) return 71;
  site->function = "leak_block";
  target_say("ready");
  target_await("go");
  do {
    start_worker();  // all of them from here: their stacks are the same
  } while (obey());
  close(orders[1]);
  return 0;
}
