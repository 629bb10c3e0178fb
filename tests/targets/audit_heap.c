// SPDX-License-Identifier: Apache-2.0
//
// Answer: the ledger (audit_ledger.h), in the file that is named. For tests of the audit.
//
//   audit_heap FILE states          each way to be free, 16 blocks and more of each, and live ones;
//                                   then nothing moves
//   audit_heap FILE churn PAUSE     4 threads allocate and free blocks of 16 B to 256 KiB until
//                                   `quit`; every 64 operations each sleeps for PAUSE microseconds
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

#include "audit_ledger.h"
#include "target.h"

#define OF_A_THREAD (AUDIT_SLOTS / AUDIT_THREADS)
#define EACH 48

static struct audit_ledger* ledger;
static long pause_us;

// --- each way to be free

static long used;

static struct audit_slot* take(size_t size) {
  struct audit_slot* slot = &ledger->slots[used++];
  char* block = malloc(size);
  if (block == NULL || used > AUDIT_SLOTS) _exit(71);
  memset(block, 'b', size);
  slot->address = (uint64_t)block;
  slot->size = size;
  slot->state = AUDIT_LIVE;
  slot->version = 2;
  return slot;
}

static void drop(struct audit_slot* slot, enum audit_state state) {
  slot->state = state;
  slot->version = 3;
  free((void*)slot->address);
}

// Blocks of its size are in the thread's cache first, and when that is full in fast bins.
static void small_ones(size_t size) {
  struct audit_slot* slots[EACH];
  for (int i = 0; i < EACH; ++i) slots[i] = take(size);
  for (int i = 0; i < EACH; ++i) {
    if (i % 2 == 1) drop(slots[i], i < 14 ? AUDIT_CACHED : AUDIT_FAST);
  }
}

static void large_ones(size_t size) {
  struct audit_slot* slots[EACH];
  for (int i = 0; i < EACH; ++i) slots[i] = take(size + (size_t)i * 64);
  for (int i = 0; i + 3 < EACH; i += 6) {
    drop(slots[i], AUDIT_IN_BIN);
    drop(slots[i + 2], AUDIT_IN_BIN);
    drop(slots[i + 3], AUDIT_MERGED);
  }
}

static void make_states(void) {
  static const size_t kSmall[] = {24, 56, 104};
  for (size_t i = 0; i < sizeof(kSmall) / sizeof(kSmall[0]); ++i) small_ones(kSmall[i]);
  large_ones(1500);
  large_ones(9000);
  // Before anything of this size was freed: that would raise the threshold.
  struct audit_slot* mapped[EACH];
  for (int i = 0; i < EACH; ++i) mapped[i] = take(300 * 1024);
  for (int i = 0; i < EACH; i += 2) drop(mapped[i], AUDIT_UNMAPPED);
  struct audit_slot* last[2];
  for (int i = 0; i < 2; ++i) last[i] = take(50000);
  for (int i = 1; i >= 0; --i) drop(last[i], AUDIT_TOP);
}

// --- churn

static uint64_t random_of(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static size_t random_size(uint64_t* state) {
  const uint64_t chance = random_of(state) % 1000;
  if (chance < 700) return 16 + random_of(state) % 240;
  if (chance < 950) return 256 + random_of(state) % 3840;
  if (chance < 998) return 4096 + random_of(state) % 28672;
  return 131072 + random_of(state) % 131072;
}

static void set_version(struct audit_slot* slot, uint32_t version) {
  __atomic_store_n(&slot->version, version, __ATOMIC_SEQ_CST);
}

static void turn(struct audit_slot* slot, uint64_t* random) {
  const uint32_t version = slot->version;
  if (version != 0 && version % 2 == 0) {
    set_version(slot, version + 1);
    free((void*)slot->address);
    return;
  }
  const size_t size = random_size(random);
  char* block = malloc(size);
  if (block == NULL) _exit(71);
  memset(block, (int)random_of(random), size < 64 ? size : 64);
  slot->address = (uint64_t)block;
  slot->size = size;
  set_version(slot, version + (version == 0 ? 2 : 1));
}

static void stand_still(uint32_t* held) {
  const struct timespec nap = {0, 1000000};
  while (__atomic_load_n(&ledger->hold, __ATOMIC_SEQ_CST) != 0) {
    __atomic_store_n(held, 1, __ATOMIC_SEQ_CST);
    nanosleep(&nap, NULL);
  }
  __atomic_store_n(held, 0, __ATOMIC_SEQ_CST);
}

// Most turns are those of a few slots, so that many blocks live long.
static void* churn(void* first) {
  struct audit_slot* slots = first;
  uint32_t* held = &ledger->held[(slots - ledger->slots) / OF_A_THREAD];
  uint64_t random = 88172645463325252ull + (uint64_t)(slots - ledger->slots);
  const struct timespec nap = {0, pause_us * 1000};
  for (unsigned long turns = 0;; ++turns) {
    const uint64_t range = random_of(&random) % 4 == 0 ? OF_A_THREAD : OF_A_THREAD / 8;
    turn(&slots[random_of(&random) % range], &random);
    if (__atomic_load_n(&ledger->hold, __ATOMIC_SEQ_CST) != 0) stand_still(held);
    if (pause_us > 0 && turns % 64 == 0) nanosleep(&nap, NULL);
  }
  return NULL;
}

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  const int fd = open(argv[1], O_RDWR);
  if (fd < 0) return 66;
  ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (ledger == MAP_FAILED) return 66;
  target_say("ready");
  target_await("go");
  if (strcmp(argv[2], "states") == 0) {
    make_states();
  } else {
    pause_us = target_number(argc, argv, 3, 1000);
    for (int i = 0; i < AUDIT_THREADS; ++i) {
      pthread_t thread;
      if (pthread_create(&thread, NULL, churn, &ledger->slots[i * OF_A_THREAD]) != 0) return 71;
    }
  }
  target_say("done");
  target_say("{}");
  target_await_quit();
}
