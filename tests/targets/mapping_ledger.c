// SPDX-License-Identifier: Apache-2.0
//
// Answer: every call below is made at a call site of its own, some thousand times in each of
// THREADS threads, and the ledger says what each of them still holds. A mapping counts until its
// last byte is unmapped; mremap ends the old one and begins a new one; a mapping put over others
// takes their bytes; failing calls change nothing.
//
//   mapping_ledger [THREADS [ROUNDS]]
#include <errno.h>
#include <pthread.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include "target.h"

enum { kMap, kMapFixed, kGrow, kMove, kShrink, kBreak, kAttach, kSites };
static const char* const kNames[kSites] = {"site_map",   "site_map_fixed", "site_grow",
                                           "site_move",  "site_shrink",    "site_break",
                                           "site_attach"};
#define PAGE 4096L
#define MAX_THREADS 64

struct worker {
  pthread_t thread;
  struct target_site sites[kSites];
};

static struct worker workers[MAX_THREADS];
static pthread_barrier_t start_line, finish_line;
static long rounds;
static int segment;
static struct target_site break_site = {"site_break", 0, 0, 0, 0, 0};

static TARGET_NOINLINE char* site_map(long pages) {
  char* at = mmap(NULL, (size_t)(pages * PAGE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                  -1, 0);
  TARGET_USE(at);
  return at;
}

static TARGET_NOINLINE char* site_map_fixed(char* at, long pages) {
  char* mapped = mmap(at, (size_t)(pages * PAGE), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  TARGET_USE(mapped);
  return mapped;
}

static TARGET_NOINLINE char* site_grow(char* old, long pages, long new_pages) {
  char* at = mremap(old, (size_t)(pages * PAGE), (size_t)(new_pages * PAGE), MREMAP_MAYMOVE);
  TARGET_USE(at);
  return at;
}

static TARGET_NOINLINE char* site_shrink(char* old, long pages, long new_pages) {
  char* at = mremap(old, (size_t)(pages * PAGE), (size_t)(new_pages * PAGE), 0);
  TARGET_USE(at);
  return at;
}

static TARGET_NOINLINE char* site_move(char* old, long pages, char* place) {
  char* at = mremap(old, (size_t)(pages * PAGE), (size_t)(pages * PAGE),
                    MREMAP_MAYMOVE | MREMAP_FIXED, place);
  TARGET_USE(at);
  return at;
}

static TARGET_NOINLINE char* site_break(long pages) {
  char* at = sbrk(pages * PAGE);
  TARGET_USE(at);
  return at;
}

static TARGET_NOINLINE char* site_attach(void) {
  char* at = shmat(segment, NULL, 0);
  TARGET_USE(at);
  return at;
}

static void require(int holds) {
  if (!holds) _exit(71);
}

static void unmap(char* at, long pages) {
  require(munmap(at, (size_t)(pages * PAGE)) == 0);
}

// What is gone of a mapping that stays.
static void part_gone(struct target_site* site, long pages) {
  site->live_bytes -= pages * PAGE;
}

static void fail_in_every_way(char* mapped) {
  require(mmap(mapped, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
  require(munmap(mapped + 1, PAGE) != 0);
  require(munmap(mapped, 0) != 0);
  // Cannot grow: the next page is taken.
  require(mremap(mapped, PAGE, 2 * PAGE, 0) == MAP_FAILED && errno == ENOMEM);
  require(shmat(-1, NULL, 0) == (void*)-1);
  require(shmdt(mapped) != 0);
  require(madvise(mapped, PAGE, MADV_DONTNEED) == 0);
}

// Leaves 16 pages of site_map in two pieces, around 3 of site_map_fixed, and 2 of another.
static void play_intervals(struct target_site* sites) {
  char* at = site_map(20);
  require(at != MAP_FAILED);
  target_born(&sites[kMap], 20 * PAGE);
  fail_in_every_way(at);
  unmap(at + 19 * PAGE, 1);
  part_gone(&sites[kMap], 1);
  require(site_map_fixed(at + 4 * PAGE, 3) == at + 4 * PAGE);
  target_born(&sites[kMapFixed], 3 * PAGE);
  part_gone(&sites[kMap], 3);
  // Over the end of one and all of the next. Never over a gap: that may be another thread's by now.
  char* both = site_map(8);
  require(both != MAP_FAILED);
  target_born(&sites[kMap], 8 * PAGE);
  require(site_map_fixed(both + 4 * PAGE, 4) == both + 4 * PAGE);
  target_born(&sites[kMapFixed], 4 * PAGE);
  part_gone(&sites[kMap], 4);
  unmap(both + 2 * PAGE, 6);
  target_gone(&sites[kMapFixed], 4 * PAGE);
  part_gone(&sites[kMap], 2);
}

// Leaves a mapping of 5 pages of site_move, and one of 2 pages of site_shrink.
static void play_moves(struct target_site* sites) {
  char* at = site_map(2);
  target_born(&sites[kMap], 2 * PAGE);
  char* grown = site_grow(at, 2, 5);
  require(at != MAP_FAILED && grown != MAP_FAILED);
  target_gone(&sites[kMap], 2 * PAGE);
  target_born(&sites[kGrow], 5 * PAGE);
  char* place = site_map(5);
  require(place != MAP_FAILED);
  target_born(&sites[kMap], 5 * PAGE);
  require(site_move(grown, 5, place) == place);
  target_gone(&sites[kGrow], 5 * PAGE);
  target_gone(&sites[kMap], 5 * PAGE);
  target_born(&sites[kMove], 5 * PAGE);
  char* large = site_map(6);
  require(large != MAP_FAILED);
  target_born(&sites[kMap], 6 * PAGE);
  require(site_shrink(large, 6, 2) == large);
  target_gone(&sites[kMap], 6 * PAGE);
  target_born(&sites[kShrink], 2 * PAGE);
}

// Leaves nothing: an address is another thread's at once.
static void play_reuse(struct target_site* sites) {
  for (int i = 0; i < 8; ++i) {
    char* at = site_map(1 + i % 3);
    require(at != MAP_FAILED);
    target_born(&sites[kMap], (1 + i % 3) * PAGE);
    unmap(at, 1 + i % 3);
    target_gone(&sites[kMap], (1 + i % 3) * PAGE);
  }
}

static void* thread_main(void* argument) {
  struct worker* self = argument;
  pthread_barrier_wait(&start_line);
  for (long round = 0; round < rounds; ++round) {
    play_reuse(self->sites);
    if (round % 8 == 0) play_intervals(self->sites);
    if (round % 8 == 4) play_moves(self->sites);
    if (round % 16 == 1) {
      char* at = site_attach();
      require(at != (void*)-1);
      target_born(&self->sites[kAttach], 3 * PAGE);
      if (round % 32 == 1) {
        require(shmdt(at) == 0);
        target_gone(&self->sites[kAttach], 3 * PAGE);
      }
    }
  }
  pthread_barrier_wait(&finish_line);
  pthread_barrier_wait(&finish_line);
  return NULL;
}

// Nobody else moves the break: nothing here touches the heap. Leaves 4 pages in one mapping.
static void play_break(void) {
  require(site_break(3) != (void*)-1);
  target_born(&break_site, 3 * PAGE);
  require(site_break(10) != (void*)-1);
  target_born(&break_site, 10 * PAGE);
  require(sbrk(-6 * PAGE) != (void*)-1);
  break_site.live_bytes -= 6 * PAGE;
  require(sbrk(-7 * PAGE) != (void*)-1);
  break_site.live_bytes -= 7 * PAGE;
  break_site.live_count = 0;
  break_site.freed_count = 2;
  require(site_break(4) != (void*)-1);
  target_born(&break_site, 4 * PAGE);
  require(sbrk(1L << 50) == (void*)-1);
}

static void add_up(struct target_site* sums, long threads) {
  for (int site = 0; site < kSites; ++site) {
    sums[site] = (struct target_site){kNames[site], 0, 0, 0, 0, 0};
    for (long i = 0; i < threads; ++i) {
      const struct target_site* part = &workers[i].sites[site];
      sums[site].live_bytes += part->live_bytes;
      sums[site].live_count += part->live_count;
      sums[site].total_bytes += part->total_bytes;
      sums[site].total_count += part->total_count;
      sums[site].freed_count += part->freed_count;
    }
  }
  sums[kBreak] = break_site;
}

int main(int argc, char** argv) {
  const long threads = target_number(argc, argv, 1, 4);
  rounds = target_number(argc, argv, 2, 512);
  if (threads < 1 || threads > MAX_THREADS) return 64;
  // Goes when the last one is detached, at the latest with the process.
  segment = shmget(IPC_PRIVATE, 3 * PAGE - 5, IPC_CREAT | 0600);
  void* holder = segment < 0 ? (void*)-1 : shmat(segment, NULL, 0);
  if (holder == (void*)-1) return 71;
  shmctl(segment, IPC_RMID, NULL);
  pthread_barrier_init(&start_line, NULL, (unsigned)threads + 1);
  pthread_barrier_init(&finish_line, NULL, (unsigned)threads + 1);
  for (long i = 0; i < threads; ++i) {
    if (pthread_create(&workers[i].thread, NULL, thread_main, &workers[i]) != 0) return 71;
  }
  target_say("ready");
  target_await("go");
  pthread_barrier_wait(&start_line);
  play_break();
  pthread_barrier_wait(&finish_line);
  struct target_site sums[kSites];
  add_up(sums, threads);
  target_say("done");
  target_say_ledger(sums, kSites);
  target_await_quit();
}
