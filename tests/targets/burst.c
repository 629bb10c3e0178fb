// SPDX-License-Identifier: Apache-2.0
//
// Answer: what a pair of malloc and free costs the thread that makes it, in slices of 20 ms, at a
// pace that changes at once. `pace RATE MILLISECONDS WORK` makes so many pairs a second for so long
// (of 64 bytes, which are written) and works for so many microseconds beside each; it sleeps when
// it is ahead and hurries when it is behind, and is answered by one line of JSON:
//
//   {"pairs":..,"cpu_ns":..,"wall_ns":..,"slices":[[pairs, CPU time in ns],..]}
//
// CPU time is the thread's own, so that a machine that is busy elsewhere does not count. No block
// stays live.
#include <errno.h>
#include <time.h>

#include "target.h"

enum {
  BLOCK_BYTES = 64,
  SLICE_NS = 20000000,
  STEP_NS = 1000000,
  MOST_SLICES = 2000,
  MOST_AT_ONCE = 256
};

struct slice {
  long pairs;
  long cpu_ns;
};

static struct slice slices[MOST_SLICES];

static long now_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void sleep_until(long at_ns) {
  const struct timespec at = {at_ns / 1000000000L, at_ns % 1000000000L};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) {
  }
}

static void work(long work_ns) {
  const long end_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) + work_ns;
  while (now_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns) {
  }
}

TARGET_NOINLINE void make_pairs(long count, long work_ns) {
  for (long i = 0; i < count; ++i) {
    if (work_ns > 0) work(work_ns);
    char* block = malloc(BLOCK_BYTES);
    TARGET_USE(block);
    if (block == NULL) _exit(71);
    memset(block, (int)i, BLOCK_BYTES);
    TARGET_USE(block);
    free(block);
  }
}

// Until it has done as much as is due by now, or the slice ends.
static long make_slice(double pairs_per_ns, long work_ns, long begin_ns, long end_ns, long done) {
  long made = 0;
  for (long now; (now = now_ns(CLOCK_MONOTONIC)) < end_ns;) {
    const long due = (long)(pairs_per_ns * (double)(now - begin_ns)) - done - made;
    if (due <= 0) {
      sleep_until(now + STEP_NS < end_ns ? now + STEP_NS : end_ns);
      continue;
    }
    const long count = due < MOST_AT_ONCE ? due : MOST_AT_ONCE;
    make_pairs(count, work_ns);
    made += count;
  }
  return made;
}

static void pace(long rate_per_s, long milliseconds, long work_ns) {
  const long begin_ns = now_ns(CLOCK_MONOTONIC);
  const long count = milliseconds * 1000000L / SLICE_NS;
  long pairs = 0, cpu_ns = 0;
  for (long at = 0; at < count; ++at) {
    const long cpu_begin_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
    slices[at].pairs = make_slice((double)rate_per_s * 1e-9, work_ns, begin_ns,
                                  begin_ns + (at + 1) * SLICE_NS, pairs);
    slices[at].cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_begin_ns;
    pairs += slices[at].pairs;
    cpu_ns += slices[at].cpu_ns;
  }
  target_text_length = 0;
  target_add("{\"pairs\":%ld,\"cpu_ns\":%ld,\"wall_ns\":%ld,\"slices\":[", pairs, cpu_ns,
             now_ns(CLOCK_MONOTONIC) - begin_ns);
  for (long at = 0; at < count; ++at)
    target_add("%s[%ld,%ld]", at == 0 ? "" : ",", slices[at].pairs, slices[at].cpu_ns);
  target_add("]}");
  target_say(target_text);
}

int main(void) {
  target_say("ready");
  const char* line;
  while ((line = target_hear()) != NULL && strncmp(line, "pace ", 5) == 0) {
    char* rest = NULL;
    const long rate_per_s = strtol(line + 5, &rest, 10);
    const long milliseconds = strtol(rest, &rest, 10);
    const long work_ns = strtol(rest, NULL, 10) * 1000;
    if (rate_per_s < 1 || milliseconds < 20 || milliseconds > MOST_SLICES * 20 || work_ns < 0)
      return 64;
    pace(rate_per_s, milliseconds, work_ns);
  }
  _exit(0);
}
