// SPDX-License-Identifier: Apache-2.0
//
// Answer: the ledger that it says. Summed by frames[0].function, and in total, a tracer's live and
// total bytes and counts equal it to the byte; the reallocs that fail leave the old block where it
// was; a realloc to 0 is a free, or a block of size 0: as its result says.
//
//   ledger [threads = 8] [operations in all = 5000000] [seed = 1] [slots = 65536] [entry points =
//   c]
//
// Entry points: `c` (what all allocators have), `pvalloc` (that as well), `c++` (operator new and
// delete as well: for allocators that have their own), `jemalloc` (mallocx and its like as well).
// Built against glibc, musl (ledger_musl*) and statically (ledger_static*); other allocators are
// preloaded, or linked in (ledger_jemalloc_static).
//
// One operation is one call of an allocator entry point. The threads work on one pool of slots:
// whoever finds a slot empty allocates into it, whoever finds it full frees, moves or resizes what
// another thread put there. Each entry point is called from one site_* function only, which is
// where the ledger is kept, from two different callers.
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <new>

#include "target.h"

// jemalloc's, where it is there.
extern "C" {
#ifndef __GLIBC__
__attribute__((weak)) void* pvalloc(size_t size);
#endif
__attribute__((weak)) void* mallocx(size_t size, int flags);
__attribute__((weak)) void* rallocx(void* block, size_t size, int flags);
__attribute__((weak)) size_t xallocx(void* block, size_t size, size_t extra, int flags);
__attribute__((weak)) void dallocx(void* block, int flags);
__attribute__((weak)) void sdallocx(void* block, size_t size, int flags);
}

namespace {

enum Site {
  MALLOC_SMALL,
  MALLOC_LARGE,
  MALLOC_ZERO,
  CALLOC,
  CALLOC_LARGE,
  REALLOC_NULL,
  REALLOC_GROW,
  REALLOC_SHRINK,
  REALLOC_ZERO,
  REALLOCARRAY,
  REALLOCARRAY_NULL,
  POSIX_MEMALIGN,
  ALIGNED_ALLOC,
  MEMALIGN,
  VALLOC,
  PVALLOC,
  NEW,
  NEW_ARRAY,
  NEW_NOTHROW,
  NEW_ALIGNED,
  NEW_ALIGNED_NOTHROW,
  MALLOCX,
  RALLOCX,
  XALLOCX,
  SITES
};

constexpr std::array<const char*, SITES> kFunctions = {"site_malloc_small",
                                                       "site_malloc_large",
                                                       "site_malloc_zero",
                                                       "site_calloc",
                                                       "site_calloc_large",
                                                       "site_realloc_null",
                                                       "site_realloc_grow",
                                                       "site_realloc_shrink",
                                                       "site_realloc_zero",
                                                       "site_reallocarray",
                                                       "site_reallocarray_null",
                                                       "site_posix_memalign",
                                                       "site_aligned_alloc",
                                                       "site_memalign",
                                                       "site_valloc",
                                                       "site_pvalloc",
                                                       "site_new",
                                                       "site_new_array",
                                                       "site_new_nothrow",
                                                       "site_new_aligned",
                                                       "site_new_aligned_nothrow",
                                                       "site_mallocx",
                                                       "site_rallocx",
                                                       "site_xallocx"};

constexpr size_t kMmapThreshold = 128 * 1024;
constexpr size_t kMaxThreads = 64;
constexpr std::align_val_t kAlignment{256};  // of operator new

enum class EntryPoints { kC, kPvalloc, kCpp, kJemalloc };

struct Block {
  unsigned char* address = nullptr;
  size_t size = 0;
  Site site = SITES;
  unsigned char tag = 0;
};

struct Slot {
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
  Block block;
};

struct Worker {
  pthread_t thread;
  uint64_t random = 0;
  long operations = 0;
  std::array<target_site, SITES> sites{};
  long failed = 0;  // calls that had to fail, and did
  long wrong = 0;   // blocks with another content than was written, calls that did not fail
};

EntryPoints entry_points = EntryPoints::kC;
Slot* slots;
size_t slot_count;
Worker workers[kMaxThreads];
pthread_barrier_t start_line;
pthread_barrier_t finish_line;
// The compiler may not know these: it would warn of, or reason about, what we do on purpose.
volatile size_t absurd_size = PTRDIFF_MAX;
volatile size_t absurd_count = SIZE_MAX / 2;
volatile size_t bad_alignment = 3;

uint64_t next_random(Worker& worker) {
  worker.random ^= worker.random << 13;
  worker.random ^= worker.random >> 7;
  worker.random ^= worker.random << 17;
  return worker.random * 0x2545f4914f6cdd1dULL >> 16;
}

size_t between(Worker& worker, size_t low, size_t high) {
  return low + next_random(worker) % (high - low + 1);
}

void born(Worker& worker, Block& block, void* address, size_t size, Site site) {
  if (address == nullptr) {
    _exit(71);  // out of memory: the ledger would still be right, the test would not mean much
  }
  block.address = static_cast<unsigned char*>(address);
  block.size = size;
  block.site = site;
  block.tag = static_cast<unsigned char>(next_random(worker));
  if (size > 0) block.address[0] = block.tag;
  target_born(&worker.sites[site], static_cast<long>(size));
}

void gone(Worker& worker, Block& block) {
  target_gone(&worker.sites[block.site], static_cast<long>(block.size));
  block = Block{};
}

void check_content(Worker& worker, const Block& block) {
  if (block.size > 0 && block.address[0] != block.tag) ++worker.wrong;
}

// The old block ends, a new one begins at the realloc's own site.
void moved(Worker& worker, Block& block, void* address, size_t size, Site site) {
  const unsigned char tag = block.tag;
  const bool had_content = block.size > 0;
  gone(worker, block);
  if (had_content && static_cast<unsigned char*>(address)[0] != tag) ++worker.wrong;
  born(worker, block, address, size, site);
}

void must_fail(Worker& worker, bool failed) {
  if (failed) {
    ++worker.failed;
  } else {
    ++worker.wrong;
  }
}

}  // namespace

// The call sites. Each calls one entry point once, and is not its last instruction.
extern "C" {

TARGET_NOINLINE void site_malloc_small(Worker& worker, Block& block, size_t size) {
  void* address = malloc(size);
  born(worker, block, address, size, MALLOC_SMALL);
}

TARGET_NOINLINE void site_malloc_large(Worker& worker, Block& block, size_t size) {
  void* address = malloc(size);
  born(worker, block, address, size, MALLOC_LARGE);
}

TARGET_NOINLINE void site_malloc_zero(Worker& worker, Block& block) {
  void* address = malloc(0);
  born(worker, block, address, 0, MALLOC_ZERO);
}

TARGET_NOINLINE void site_calloc(Worker& worker, Block& block, size_t count, size_t size) {
  void* address = calloc(count, size);
  born(worker, block, address, count * size, CALLOC);
}

TARGET_NOINLINE void site_calloc_large(Worker& worker, Block& block, size_t count, size_t size) {
  void* address = calloc(count, size);
  born(worker, block, address, count * size, CALLOC_LARGE);
}

TARGET_NOINLINE void site_realloc_null(Worker& worker, Block& block, size_t size) {
  void* address = realloc(nullptr, size);
  born(worker, block, address, size, REALLOC_NULL);
}

TARGET_NOINLINE void site_realloc_grow(Worker& worker, Block& block, size_t size) {
  void* address = realloc(block.address, size);
  moved(worker, block, address, size, REALLOC_GROW);
}

TARGET_NOINLINE void site_realloc_shrink(Worker& worker, Block& block, size_t size) {
  void* address = realloc(block.address, size);
  moved(worker, block, address, size, REALLOC_SHRINK);
}

TARGET_NOINLINE void site_realloc_zero(Worker& worker, Block& block) {
  void* address = realloc(block.address, 0);
  gone(worker, block);
  if (address != nullptr) born(worker, block, address, 0, REALLOC_ZERO);
}

TARGET_NOINLINE void site_realloc_failing(Worker& worker, Block& block) {
  void* address = realloc(block.address, absurd_size);
  must_fail(worker, address == nullptr);
  check_content(worker, block);
}

TARGET_NOINLINE void site_reallocarray(Worker& worker, Block& block, size_t count, size_t size) {
  void* address = reallocarray(block.address, count, size);
  moved(worker, block, address, count * size, REALLOCARRAY);
}

TARGET_NOINLINE void site_reallocarray_null(Worker& worker, Block& block, size_t count,
                                            size_t size) {
  void* address = reallocarray(nullptr, count, size);
  born(worker, block, address, count * size, REALLOCARRAY_NULL);
}

TARGET_NOINLINE void site_reallocarray_failing(Worker& worker, Block& block) {
  void* address = reallocarray(block.address, absurd_count, 8);
  must_fail(worker, address == nullptr);
  check_content(worker, block);
}

TARGET_NOINLINE void site_posix_memalign(Worker& worker, Block& block, size_t alignment,
                                         size_t size) {
  void* address = nullptr;
  const int error = posix_memalign(&address, alignment, size);
  if (error != 0) address = nullptr;
  born(worker, block, address, size, POSIX_MEMALIGN);
}

// The pointer holds the address of a live block all the while: only the return code tells.
TARGET_NOINLINE void site_posix_memalign_failing(Worker& worker, void* live_block) {
  void* address = live_block;
  const int error = posix_memalign(&address, bad_alignment, 64);
  must_fail(worker, error == EINVAL && address == live_block);
}

TARGET_NOINLINE void site_aligned_alloc(Worker& worker, Block& block, size_t alignment,
                                        size_t size) {
  void* address = aligned_alloc(alignment, size);
  born(worker, block, address, size, ALIGNED_ALLOC);
}

TARGET_NOINLINE void site_memalign(Worker& worker, Block& block, size_t alignment, size_t size) {
  void* address = memalign(alignment, size);
  born(worker, block, address, size, MEMALIGN);
}

TARGET_NOINLINE void site_valloc(Worker& worker, Block& block, size_t size) {
  void* address = valloc(size);
  born(worker, block, address, size, VALLOC);
}

TARGET_NOINLINE void site_pvalloc(Worker& worker, Block& block, size_t size) {
  void* address = pvalloc(size);
  born(worker, block, address, size, PVALLOC);
}

TARGET_NOINLINE void site_malloc_failing(Worker& worker) {
  void* address = malloc(absurd_size);
  must_fail(worker, address == nullptr);
}

TARGET_NOINLINE void site_calloc_failing(Worker& worker) {
  void* address = calloc(absurd_count, 8);
  must_fail(worker, address == nullptr);
}

TARGET_NOINLINE void site_memalign_failing(Worker& worker) {
  void* address = memalign(4096, absurd_size);
  must_fail(worker, address == nullptr);
}

TARGET_NOINLINE void site_free(Worker& worker, Block& block) {
  check_content(worker, block);
  free(block.address);
  gone(worker, block);
}

TARGET_NOINLINE void site_new(Worker& worker, Block& block, size_t size) {
  void* address = ::operator new(size);
  born(worker, block, address, size, NEW);
}

TARGET_NOINLINE void site_new_array(Worker& worker, Block& block, size_t size) {
  void* address = ::operator new[](size);
  born(worker, block, address, size, NEW_ARRAY);
}

TARGET_NOINLINE void site_new_nothrow(Worker& worker, Block& block, size_t size) {
  void* address = ::operator new(size, std::nothrow);
  born(worker, block, address, size, NEW_NOTHROW);
}

TARGET_NOINLINE void site_new_aligned(Worker& worker, Block& block, size_t size) {
  void* address = ::operator new(size, kAlignment);
  born(worker, block, address, size, NEW_ALIGNED);
}

TARGET_NOINLINE void site_new_aligned_nothrow(Worker& worker, Block& block, size_t size) {
  void* address = ::operator new(size, kAlignment, std::nothrow);
  born(worker, block, address, size, NEW_ALIGNED_NOTHROW);
}

TARGET_NOINLINE void site_delete(Worker& worker, Block& block) {
  check_content(worker, block);
  switch (block.site) {
    case NEW:
      if (block.tag % 2 == 0) {
        ::operator delete(block.address);
      } else {
        ::operator delete(block.address, block.size);
      }
      break;
    case NEW_ARRAY:
      ::operator delete[](block.address);
      break;
    case NEW_NOTHROW:
      ::operator delete(block.address, std::nothrow);
      break;
    case NEW_ALIGNED:
      ::operator delete(block.address, block.size, kAlignment);
      break;
    default:
      ::operator delete(block.address, kAlignment);
      break;
  }
  gone(worker, block);
}

TARGET_NOINLINE void site_mallocx(Worker& worker, Block& block, size_t size) {
  void* address = mallocx(size, 0);
  born(worker, block, address, size, MALLOCX);
}

TARGET_NOINLINE void site_rallocx(Worker& worker, Block& block, size_t size) {
  void* address = rallocx(block.address, size, 0);
  moved(worker, block, address, size, RALLOCX);
}

// In place, or not at all: the result tells how much there is.
TARGET_NOINLINE void site_xallocx(Worker& worker, Block& block, size_t size) {
  const size_t room = xallocx(block.address, size, 0, 0);
  if (room >= size) moved(worker, block, block.address, size, XALLOCX);
}

TARGET_NOINLINE void site_dallocx(Worker& worker, Block& block) {
  dallocx(block.address, 0);
  gone(worker, block);
}

TARGET_NOINLINE void site_sdallocx(Worker& worker, Block& block) {
  sdallocx(block.address, block.size, 0);
  gone(worker, block);
}

TARGET_NOINLINE void site_free_null(Worker& worker) {
  free(nullptr);
  TARGET_USE(&worker);
}

}  // extern "C"

namespace {

size_t small_size(Worker& worker) {
  return between(worker, 1, 800);
}
size_t large_size(Worker& worker) {
  return between(worker, kMmapThreshold, 3 * kMmapThreshold);
}
size_t alignment_of(Worker& worker) {
  return size_t{16} << between(worker, 0, 6);
}

// C11: the size is a multiple of the alignment.
void allocate_aligned(Worker& worker, Block& block) {
  const size_t alignment = alignment_of(worker);
  const size_t size = (small_size(worker) + alignment - 1) / alignment * alignment;
  site_aligned_alloc(worker, block, alignment, size);
}

// Two callers for the same sites, so that one frames[0] stands on two stacks.
TARGET_NOINLINE void allocate_for_request(Worker& worker, Block& block) {
  const size_t choice = between(worker, 0, 99);
  if (choice < 50) {
    site_malloc_small(worker, block, small_size(worker));
  } else if (choice < 51) {
    site_malloc_large(worker, block, large_size(worker));
  } else if (choice < 52) {
    site_malloc_zero(worker, block);
  } else if (choice < 72) {
    site_calloc(worker, block, between(worker, 1, 20), between(worker, 1, 40));
  } else if (choice < 80) {
    site_realloc_null(worker, block, between(worker, 0, 500));
  } else if (choice < 85) {
    site_reallocarray_null(worker, block, between(worker, 1, 10), between(worker, 1, 60));
  } else if (choice < 95) {
    site_posix_memalign(worker, block, alignment_of(worker), between(worker, 0, 700));
  } else {
    allocate_aligned(worker, block);
  }
  TARGET_USE(&block);
}

TARGET_NOINLINE void allocate_for_cache(Worker& worker, Block& block) {
  const size_t choice = between(worker, 0, 99);
  if (choice < 50) {
    site_malloc_small(worker, block, small_size(worker));
  } else if (choice < 70) {
    site_calloc(worker, block, between(worker, 1, 20), between(worker, 1, 40));
  } else if (choice < 71) {
    site_calloc_large(worker, block, 1024, between(worker, 128, 300));
  } else if (choice < 80) {
    allocate_aligned(worker, block);
  } else if (choice < 95) {
    site_memalign(worker, block, alignment_of(worker), small_size(worker));
  } else if (choice < 98 || entry_points != EntryPoints::kPvalloc) {
    site_valloc(worker, block, small_size(worker));
  } else {
    site_pvalloc(worker, block, between(worker, 1, 6000));
  }
  TARGET_USE(&block);
}

TARGET_NOINLINE void allocate_for_objects(Worker& worker, Block& block) {
  const size_t choice = between(worker, 0, 99);
  if (choice < 20 && entry_points == EntryPoints::kJemalloc) {
    site_mallocx(worker, block, small_size(worker));
  } else if (choice < 60) {
    site_new(worker, block, choice == 59 ? large_size(worker) : small_size(worker));
  } else if (choice < 70) {
    site_new_array(worker, block, small_size(worker));
  } else if (choice < 80) {
    site_new_nothrow(worker, block, small_size(worker));
  } else if (choice < 90) {
    site_new_aligned(worker, block, small_size(worker));
  } else {
    site_new_aligned_nothrow(worker, block, small_size(worker));
  }
  TARGET_USE(&block);
}

bool is_object(const Block& block) {
  return block.site >= NEW && block.site <= NEW_ALIGNED_NOTHROW;
}

TARGET_NOINLINE void fail_somehow(Worker& worker, Block& block) {
  switch (between(worker, 0, 4)) {
    case 0:
      return site_malloc_failing(worker);
    case 1:
      return site_calloc_failing(worker);
    case 2:
      return site_memalign_failing(worker);
    case 3:
      return site_posix_memalign_failing(worker, &block);
    default:
      return site_free_null(worker);
  }
}

TARGET_NOINLINE void fill(Worker& worker, Block& block) {
  const size_t choice = between(worker, 0, 99);
  if (entry_points >= EntryPoints::kCpp && choice % 2 == 0) {
    allocate_for_objects(worker, block);
  } else if (choice < 48) {
    allocate_for_request(worker, block);
  } else if (choice < 93) {
    allocate_for_cache(worker, block);
  } else {
    fail_somehow(worker, block);
  }
}

TARGET_NOINLINE void resize(Worker& worker, Block& block) {
  const size_t choice = between(worker, 0, 99);
  const bool may_grow = block.size < 2 * kMmapThreshold;
  if (entry_points == EntryPoints::kJemalloc && choice % 4 == 0) {
    if (choice % 8 == 0) return site_rallocx(worker, block, small_size(worker));
    return site_xallocx(worker, block, block.size + between(worker, 1, 16));
  }
  if (choice < 15) {
    site_realloc_zero(worker, block);
  } else if (choice < 30) {
    site_realloc_failing(worker, block);
  } else if (choice < 40) {
    site_reallocarray_failing(worker, block);
  } else if (choice < 50) {
    site_posix_memalign_failing(worker, block.address);
  } else if (choice < 60) {
    site_reallocarray(worker, block, between(worker, 1, 30), between(worker, 1, 30));
  } else if (may_grow && (choice < 80 || block.size < 2)) {
    site_realloc_grow(worker, block, block.size + between(worker, 1, block.size + 64));
  } else {
    site_realloc_shrink(worker, block, between(worker, 1, block.size));
  }
}

TARGET_NOINLINE void release(Worker& worker, Block& block) {
  const size_t choice = between(worker, 0, 99);
  if (is_object(block)) {
    site_delete(worker, block);
  } else if (entry_points == EntryPoints::kJemalloc && choice < 10) {
    site_dallocx(worker, block);
  } else if (block.site == MALLOCX && block.size > 0) {
    site_sdallocx(worker, block);
  } else {
    site_free(worker, block);
  }
}

// A thread's own blocks are a matter of chance: seven of eight that it frees were another thread's.
TARGET_NOINLINE void work(Worker& worker) {
  for (long done = 0; done < worker.operations;) {
    Slot& slot = slots[next_random(worker) % slot_count];
    if (slot.busy.test_and_set(std::memory_order_acquire)) continue;
    if (slot.block.address == nullptr) {
      fill(worker, slot.block);
    } else if (is_object(slot.block) || between(worker, 0, 99) < 60) {
      release(worker, slot.block);
    } else {
      resize(worker, slot.block);
    }
    slot.busy.clear(std::memory_order_release);
    ++done;
  }
}

// Threads outlive the ledger: what they hand back at their end is no part of it.
void* thread_main(void* argument) {
  pthread_barrier_wait(&start_line);
  work(*static_cast<Worker*>(argument));
  pthread_barrier_wait(&finish_line);
  for (;;) pause();
}

struct Counted {
  long live_bytes = 0;
  long live_count = 0;
};

Counted count_slots() {
  Counted counted;
  for (size_t i = 0; i < slot_count; ++i) {
    if (slots[i].block.address == nullptr) continue;
    counted.live_bytes += static_cast<long>(slots[i].block.size);
    counted.live_count += 1;
  }
  return counted;
}

void add(target_site& sum, const target_site& part) {
  sum.live_bytes += part.live_bytes;
  sum.live_count += part.live_count;
  sum.total_bytes += part.total_bytes;
  sum.total_count += part.total_count;
  sum.freed_count += part.freed_count;
}

// The sums over the threads must agree with the slots, and every block must have held what was
// written to it.
void say_result(long threads) {
  static std::array<target_site, SITES> sites{};
  long wrong = 0;
  Counted booked;
  for (int site = 0; site < SITES; ++site) {
    sites[site].function = kFunctions[site];
    for (long i = 0; i < threads; ++i) add(sites[site], workers[i].sites[site]);
    booked.live_bytes += sites[site].live_bytes;
    booked.live_count += sites[site].live_count;
  }
  for (long i = 0; i < threads; ++i) wrong += workers[i].wrong;
  const Counted counted = count_slots();
  const bool same =
      counted.live_bytes == booked.live_bytes && counted.live_count == booked.live_count;
  target_say(same && wrong == 0 ? "done" : "broken");
  target_say_ledger(sites.data(), sites.size());
}

bool choose_entry_points(const char* word) {
  constexpr std::array<const char*, 4> kWords = {"c", "pvalloc", "c++", "jemalloc"};
  for (size_t i = 0; i < kWords.size(); ++i) {
    if (strcmp(word, kWords[i]) != 0) continue;
    entry_points = static_cast<EntryPoints>(i);
    return entry_points != EntryPoints::kJemalloc || mallocx != nullptr;
  }
  return false;
}

// Not on the heap, which is what the trace is about. Zeroes are an empty slot, but for `site`.
Slot* map_slots() {
  void* memory = mmap(nullptr, slot_count * sizeof(Slot), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) _exit(71);
  Slot* mapped = static_cast<Slot*>(memory);
  for (size_t i = 0; i < slot_count; ++i) new (&mapped[i]) Slot;
  return mapped;
}

}  // namespace

int main(int argc, char** argv) {
  const long threads = target_number(argc, argv, 1, 8);
  const long operations = target_number(argc, argv, 2, 5'000'000);
  const long seed = target_number(argc, argv, 3, 1);
  slot_count = static_cast<size_t>(target_number(argc, argv, 4, 65536));
  if (threads < 1 || threads > static_cast<long>(kMaxThreads) || slot_count < 1) return 64;
  if (!choose_entry_points(argc > 5 ? argv[5] : "c")) return 64;
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, kMmapThreshold);  // and no adapting of it
#endif
  slots = map_slots();
  pthread_barrier_init(&start_line, nullptr, static_cast<unsigned>(threads) + 1);
  pthread_barrier_init(&finish_line, nullptr, static_cast<unsigned>(threads) + 1);
  for (long i = 0; i < threads; ++i) {
    workers[i].random = static_cast<uint64_t>(seed) * 1000003 + static_cast<uint64_t>(i) + 1;
    workers[i].operations = operations / threads + (i < operations % threads ? 1 : 0);
    if (pthread_create(&workers[i].thread, nullptr, thread_main, &workers[i]) != 0) return 71;
  }
  target_say("ready");
  target_await("go");
  pthread_barrier_wait(&start_line);
  pthread_barrier_wait(&finish_line);
  say_result(threads);
  target_await_quit();
}
