// SPDX-License-Identifier: Apache-2.0
//
// Answer: one of four call sites that churn leaks a share of what it allocates, in blocks of one
// size: which one, how much and how large the seed decides (0.1 % to 10 %, 16 B to 1 MiB), and the
// ledger says. Four bounded caches of different lifetimes replace what they hold and leak nothing;
// they are full before it says `ready`. Of a block only the first byte is written, so that large
// leaks are address space more than memory.
//
//   seeded_leak [seed = 1] [operations a second = 0: the seed decides, 100,000 to 1,000,000]
//               [seconds that it will be looked at for = 60: the longest lifetime is a sixth]
//
// One thread allocates without a pause and uses what it was given: as much as makes it so many
// operations a second on this machine when nobody traces it (`measured_per_s` says how many they
// were). `go` begins, `mark` is answered by the ledger of that moment, `stop` ends the thread and
// is answered by `done` and the ledger: as everywhere, of what was allocated since `go`, and of
// each call site its `kind` and what it has leaked; when that was said (CLOCK_MONOTONIC), and the
// CPU time that the process has used.
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

#include "target.h"

enum { CHURNS = 4, CACHES = 4, SITES = CHURNS + CACHES, LONGEST_RING = 4096, PICKS = 65536 };
// The leak grows by that much at most, and its call site allocates that much at most.
static const double kMostLeakedPerS = 3e6, kMostAllocatedPerS = 1e9;
static const double kMostCachedBytes = 32e6;

enum policy { FIFO, LRU, RANDOM };
static const char* const policies[] = {"fifo", "lru", "random"};

struct site {
  struct target_site sums;
  long leaked_bytes, leaked_count;
  void* (*allocate)(size_t bytes);
  double share;  // of all operations
  size_t least_bytes, most_bytes;
};

// A block is freed when so many younger ones of its call site are there.
struct ring {
  void* blocks[LONGEST_RING];
  size_t sizes[LONGEST_RING];
  long length, next;
};

struct entry {
  void* block;
  int32_t newer, older;  // LRU: places in the list, -1: none
};

struct cache {
  enum policy policy;
  double lifetime_s;
  long capacity, next;
  long keys;  // LRU: twice as many as there is room for
  struct entry* entries;
  int32_t newest, oldest;
  long held;
};

static struct site sites[SITES];
static struct ring rings[CHURNS];
static struct cache caches[CACHES] = {
    {.policy = FIFO}, {.policy = LRU}, {.policy = RANDOM}, {.policy = FIFO}};
static unsigned char picks[PICKS];
static int leaking;
static double leak_share;
static double rate_per_s, measured_per_s;
static long operations;
static char epoch = 1;  // in the first byte of each block; since `go` the ledger counts those of 2
static uint64_t uses;   // of what an operation is given
static uint64_t random_state;
static volatile bool stopped;
static pthread_mutex_t start_line = PTHREAD_MUTEX_INITIALIZER;

static uint64_t next_random(void) {
  random_state += 0x9e3779b97f4a7c15u;
  uint64_t x = random_state;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// [0, 1)
static double next_share(void) {
  return (double)(next_random() >> 11) * 0x1p-53;
}

// Each order of magnitude alike.
static double draw_between(double least, double most) {
  return least * pow(most / least, next_share());
}

static double seconds_now(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

// One thread writes, another may read.
static void add_to(long* sum, long more) {
  __atomic_store_n(sum, *sum + more, __ATOMIC_RELAXED);
}

static void born(struct site* site, size_t bytes) {
  add_to(&site->sums.live_bytes, (long)bytes);
  add_to(&site->sums.live_count, 1);
  add_to(&site->sums.total_bytes, (long)bytes);
  add_to(&site->sums.total_count, 1);
}

static void give_back(struct site* site, void* block, size_t bytes) {
  const bool counts = *(volatile char*)block == epoch;
  free(block);
  if (!counts) return;
  add_to(&site->sums.live_bytes, -(long)bytes);
  add_to(&site->sums.live_count, -1);
  add_to(&site->sums.freed_count, 1);
}

#define CALL_SITE(name)                      \
  TARGET_NOINLINE void* name(size_t bytes) { \
    void* block = malloc(bytes);             \
    TARGET_USE(block);                       \
    return block;                            \
  }

CALL_SITE(parse_request)
CALL_SITE(build_reply)
CALL_SITE(open_session)
CALL_SITE(write_log)
CALL_SITE(keep_short)
CALL_SITE(keep_used)
CALL_SITE(keep_some)
CALL_SITE(keep_long)

static void* allocate(struct site* site, size_t bytes) {
  void* block = site->allocate(bytes);
  if (block == NULL) _exit(71);
  *(volatile char*)block = epoch;
  born(site, bytes);
  return block;
}

static size_t draw_size(const struct site* site) {
  return site->least_bytes + next_random() % (site->most_bytes - site->least_bytes + 1);
}

static void churn(int index) {
  struct site* site = &sites[index];
  struct ring* ring = &rings[index];
  const size_t bytes = draw_size(site);
  void* block = allocate(site, bytes);
  if (index == leaking && next_share() < leak_share) {
    add_to(&site->leaked_bytes, (long)bytes);
    add_to(&site->leaked_count, 1);
    return;
  }
  const long place = ring->next;
  if (ring->blocks[place] != NULL) give_back(site, ring->blocks[place], ring->sizes[place]);
  ring->blocks[place] = block;
  ring->sizes[place] = bytes;
  ring->next = (place + 1) % ring->length;
}

static void unlink_entry(struct cache* cache, int32_t at) {
  const struct entry* entry = &cache->entries[at];
  if (entry->newer >= 0) cache->entries[entry->newer].older = entry->older;
  if (entry->older >= 0) cache->entries[entry->older].newer = entry->newer;
  if (cache->newest == at) cache->newest = entry->older;
  if (cache->oldest == at) cache->oldest = entry->newer;
}

static void link_newest(struct cache* cache, int32_t at) {
  cache->entries[at].newer = -1;
  cache->entries[at].older = cache->newest;
  if (cache->newest >= 0) cache->entries[cache->newest].newer = at;
  cache->newest = at;
  if (cache->oldest < 0) cache->oldest = at;
}

// Half of the keys that it is asked for are there.
static void use_lru(struct cache* cache, struct site* site) {
  const int32_t key = (int32_t)(next_random() % (uint64_t)cache->keys);
  struct entry* entry = &cache->entries[key];
  if (entry->block != NULL) {
    unlink_entry(cache, key);
  } else {
    if (cache->held == cache->capacity) {
      const int32_t oldest = cache->oldest;
      unlink_entry(cache, oldest);
      give_back(site, cache->entries[oldest].block, site->least_bytes);
      cache->entries[oldest].block = NULL;
      --cache->held;
    }
    entry->block = allocate(site, site->least_bytes);
    ++cache->held;
  }
  link_newest(cache, key);
}

static void replace(struct cache* cache, struct site* site) {
  const long place =
      cache->policy == FIFO ? cache->next : (long)(next_random() % (uint64_t)cache->capacity);
  struct entry* entry = &cache->entries[place];
  if (entry->block != NULL) give_back(site, entry->block, site->least_bytes);
  entry->block = allocate(site, site->least_bytes);
  cache->next = (place + 1) % cache->capacity;
}

static void fill(struct cache* cache, struct site* site) {
  if (cache->policy == LRU) {
    while (cache->held < cache->capacity) use_lru(cache, site);
    return;
  }
  for (long at = 0; at < cache->capacity; ++at)
    cache->entries[at].block = allocate(site, site->least_bytes);
}

static void use(uint64_t times) {
  uint64_t sum = times;
  for (uint64_t n = 0; n < times; ++n) {
    sum = sum * 6364136223846793005u + 1442695040888963407u;
    TARGET_USE(sum);
  }
}

static void operate(void) {
  const int index = picks[next_random() % PICKS];
  if (index < CHURNS) {
    churn(index);
  } else if (caches[index - CHURNS].policy == LRU) {
    use_lru(&caches[index - CHURNS], &sites[index]);
  } else {
    replace(&caches[index - CHURNS], &sites[index]);
  }
  use(uses);
  add_to(&operations, 1);
}

// Seconds of CPU time that an operation takes.
static double time_operations(long count) {
  const double begin = seconds_now(CLOCK_THREAD_CPUTIME_ID);
  for (long n = 0; n < count; ++n) operate();
  return (seconds_now(CLOCK_THREAD_CPUTIME_ID) - begin) / (double)count;
}

static void calibrate(void) {
  enum { TIMES = 20000000 };
  time_operations(100000);
  const double bare = time_operations(200000);
  const double begin = seconds_now(CLOCK_THREAD_CPUTIME_ID);
  use(TIMES);
  const double time_of_use = (seconds_now(CLOCK_THREAD_CPUTIME_ID) - begin) / TIMES;
  const double left = 1 / rate_per_s - bare;
  uses = left > 0 ? (uint64_t)(left / time_of_use) : 0;
  const long enough = (long)(rate_per_s / 10) + 1;
  measured_per_s = 1 / time_operations(enough);
}

// Of the leaking call site one size, and not more operations than memory allows.
static void choose_leak(void) {
  struct site* site = &sites[leaking];
  leak_share = draw_between(0.001, 0.1);
  const double bytes = draw_between(16, 1048576);
  site->least_bytes = site->most_bytes = (size_t)bytes;
  const double most_per_s = fmin(kMostLeakedPerS / leak_share, kMostAllocatedPerS) / bytes;
  site->share = fmin(site->share, most_per_s / rate_per_s);
}

// What the caches and the leaking call site leave goes to a call site that does not leak.
static void choose_picks(void) {
  const int rest = leaking == 0 ? 1 : 0;
  long taken = 0;
  for (int index = 0; index < SITES; ++index) {
    if (index == rest) continue;
    long places = lround(sites[index].share * PICKS);
    if (places < 1) places = 1;
    for (long n = 0; n < places; ++n) picks[taken++] = (unsigned char)index;
    sites[index].share = (double)places / PICKS;
  }
  while (taken < PICKS) picks[taken++] = (unsigned char)rest;
}

static void make_cache(struct cache* cache, struct site* site) {
  site->least_bytes = site->most_bytes = (size_t)draw_between(32, 2048);
  const double inserted_per_s = site->share * rate_per_s / (cache->policy == LRU ? 2 : 1);
  const double wanted =
      fmin(inserted_per_s * cache->lifetime_s, kMostCachedBytes / (double)site->least_bytes);
  cache->capacity = wanted < 16 ? 16 : (long)wanted;
  cache->keys = cache->policy == LRU ? 2 * cache->capacity : cache->capacity;
  cache->newest = cache->oldest = -1;
  cache->entries = mmap(NULL, (size_t)cache->keys * sizeof(struct entry), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (cache->entries == MAP_FAILED) _exit(71);
}

static void set_up(uint64_t seed, double seconds) {
  static const struct site fresh[SITES] = {
      {.sums = {.function = "parse_request"},
       .allocate = parse_request,
       .share = 0.25,
       .least_bytes = 16,
       .most_bytes = 256},
      {.sums = {.function = "build_reply"},
       .allocate = build_reply,
       .share = 0.25,
       .least_bytes = 64,
       .most_bytes = 4096},
      {.sums = {.function = "open_session"},
       .allocate = open_session,
       .share = 0.15,
       .least_bytes = 100,
       .most_bytes = 1000},
      {.sums = {.function = "write_log"},
       .allocate = write_log,
       .share = 0.15,
       .least_bytes = 24,
       .most_bytes = 600},
      {.sums = {.function = "keep_short"}, .allocate = keep_short, .share = 0.05},
      {.sums = {.function = "keep_used"}, .allocate = keep_used, .share = 0.1},
      {.sums = {.function = "keep_some"}, .allocate = keep_some, .share = 0.03},
      {.sums = {.function = "keep_long"}, .allocate = keep_long, .share = 0.02}};
  static const long lengths[CHURNS] = {1, 16, 512, LONGEST_RING};
  memcpy(sites, fresh, sizeof(sites));
  random_state = seed;
  const double drawn_rate = draw_between(1e5, 1e6);
  if (rate_per_s <= 0) rate_per_s = drawn_rate;
  leaking = (int)(next_random() % CHURNS);
  choose_leak();
  choose_picks();
  for (int index = 0; index < CHURNS; ++index) rings[index].length = lengths[index];
  const double longest = seconds / 6;
  const double lifetimes[CACHES] = {draw_between(0.005, 0.05), draw_between(0.05, longest / 8),
                                    draw_between(0.05, longest / 4), longest};
  for (int index = 0; index < CACHES; ++index) {
    caches[index].lifetime_s = lifetimes[index];
    make_cache(&caches[index], &sites[CHURNS + index]);
    fill(&caches[index], &sites[CHURNS + index]);
  }
}

static void* work(void* unused) {
  (void)unused;
  pthread_mutex_lock(&start_line);
  pthread_mutex_unlock(&start_line);
  while (!stopped) operate();
  return NULL;
}

static void forget_ledger(void) {
  epoch = 2;
  operations = 0;
  for (int index = 0; index < SITES; ++index) {
    struct site* site = &sites[index];
    site->sums = (struct target_site){.function = site->sums.function};
    site->leaked_bytes = site->leaked_count = 0;
  }
}

static void add_kind(int index) {
  if (index < CHURNS) {
    target_add("\"kind\":\"%s\",", index == leaking ? "leak" : "churn");
    return;
  }
  const struct cache* cache = &caches[index - CHURNS];
  target_add("\"kind\":\"cache\",\"policy\":\"%s\",\"capacity\":%ld,", policies[cache->policy],
             cache->capacity);
}

static void add_to_all(struct target_site* all, const struct target_site* sums) {
  all->live_bytes += sums->live_bytes;
  all->live_count += sums->live_count;
  all->total_bytes += sums->total_bytes;
  all->total_count += sums->total_count;
  all->freed_count += sums->freed_count;
}

// The thread works on meanwhile: each number is of its own moment.
static void say_ledger(uint64_t seed) {
  struct target_site all = {"", 0, 0, 0, 0, 0};
  target_text_length = 0;
  target_add("{\"seed\":%lu,\"rate_per_s\":%.0f,\"measured_per_s\":%.0f,\"operations\":%ld,",
             (unsigned long)seed, rate_per_s, measured_per_s,
             __atomic_load_n(&operations, __ATOMIC_RELAXED));
  target_add("\"leak\":{\"function\":\"%s\",\"share\":%.5f,\"bytes\":%zu},",
             sites[leaking].sums.function, leak_share, sites[leaking].least_bytes);
  target_add("\"at_ns\":%.0f,\"cpu_ns\":%.0f,\"sites\":[", seconds_now(CLOCK_MONOTONIC) * 1e9,
             seconds_now(CLOCK_PROCESS_CPUTIME_ID) * 1e9);
  for (int index = 0; index < SITES; ++index) {
    const struct target_site sums = *(volatile struct target_site*)&sites[index].sums;
    target_add("%s{\"function\":\"%s\",", index == 0 ? "" : ",", sums.function);
    add_kind(index);
    target_add("\"leaked_bytes\":%ld,\"leaked_count\":%ld,",
               __atomic_load_n(&sites[index].leaked_bytes, __ATOMIC_RELAXED),
               __atomic_load_n(&sites[index].leaked_count, __ATOMIC_RELAXED));
    target_add_site(&sums);
    add_to_all(&all, &sums);
  }
  target_add("],\"totals\":{");
  target_add_site(&all);
  target_add("}");
  target_say(target_text);
}

int main(int argc, char** argv) {
  const uint64_t seed = (uint64_t)target_number(argc, argv, 1, 1);
  rate_per_s = (double)target_number(argc, argv, 2, 0);
  const long seconds = target_number(argc, argv, 3, 60);
  if (rate_per_s < 0 || rate_per_s > 1e6 || seconds < 4) return 64;
  set_up(seed, (double)seconds);
  calibrate();
  pthread_t thread;
  pthread_mutex_lock(&start_line);
  if (pthread_create(&thread, NULL, work, NULL) != 0) return 71;
  target_say("ready");
  target_await("go");
  forget_ledger();
  pthread_mutex_unlock(&start_line);
  const char* word;
  while ((word = target_hear()) != NULL && strcmp(word, "mark") == 0) say_ledger(seed);
  if (word == NULL || strcmp(word, "stop") != 0) _exit(word == NULL ? 0 : 64);
  stopped = true;
  pthread_join(thread, NULL);
  target_say("done");
  say_ledger(seed);
  target_await_quit();
}
