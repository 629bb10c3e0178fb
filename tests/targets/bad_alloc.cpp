// SPDX-License-Identifier: Apache-2.0
//
// Answer: the ledger that it says; every std::bad_alloc was caught (else it says `broken`, or is
// dead). Exceptions come and go: of their own memory nothing is live.
//
//   bad_alloc [rounds = 1000] [handler]
//
// `handler`: a new-handler of our own throws, from inside operator new. (Debian's mimalloc is built
// as C: out of memory it aborts, traced or not.)
#include <stdint.h>

#include <new>

#include "target.h"

namespace {

constexpr std::align_val_t kAlignment{64};
constexpr long kMaxKept = 100000;

volatile size_t absurd_size = PTRDIFF_MAX - 4096;
target_site kept = {"site_kept", 0, 0, 0, 0, 0};
void* blocks[kMaxKept];
long block_count = 0;

[[noreturn]] void throw_bad_alloc() {
  throw std::bad_alloc();
}

// Something to unwind, in frames of other sizes: what the call left on the stack stays there.
struct Guard {
  explicit Guard(long* counter) : counter_(counter) {}
  ~Guard() { ++*counter_; }
  long* counter_;
};

TARGET_NOINLINE void allocate_too_much(long way) {
  char frame[256];  // so that the calls of other functions leave the place alone
  TARGET_USE(frame);
  void* address = nullptr;
  switch (way) {
    case 0:
      address = ::operator new(absurd_size);
      break;
    case 1:
      address = ::operator new[](absurd_size);
      break;
    case 2:
      address = ::operator new(absurd_size, kAlignment);
      break;
    default:
      address = ::operator new[](absurd_size, kAlignment);
      break;
  }
  TARGET_USE(address);
}

TARGET_NOINLINE void pass_on(long way, long* unwound) {
  const Guard guard(unwound);
  allocate_too_much(way);
  TARGET_USE(unwound);
}

}  // namespace

extern "C" TARGET_NOINLINE void site_kept(size_t size) {
  void* address = ::operator new(size);
  target_born(&kept, static_cast<long>(size));
  blocks[block_count++] = address;
}

namespace {

TARGET_NOINLINE bool caught_near(long way) {
  try {
    allocate_too_much(way);
  } catch (const std::bad_alloc&) {
    return true;
  }
  return false;
}

TARGET_NOINLINE bool caught_far(long way) {
  long unwound = 0;
  try {
    pass_on(way, &unwound);
  } catch (const std::bad_alloc&) {
    return unwound == 1;
  }
  return false;
}

TARGET_NOINLINE void release_half() {
  for (long i = 0; i + 1 < block_count; i += 2) {
    target_gone(&kept, static_cast<long>(16 + i % 1000));
    ::operator delete(blocks[i]);
    blocks[i] = nullptr;
  }
}

bool run(long rounds) {
  bool all_caught = true;
  for (long round = 0; round < rounds; ++round) {
    // Freed ones are at even places; the size follows from the place.
    site_kept(static_cast<size_t>(16 + block_count % 1000));
    all_caught &= caught_near(round % 4);
    site_kept(static_cast<size_t>(16 + block_count % 1000));
    all_caught &= caught_far(round % 4);
  }
  release_half();
  return all_caught;
}

}  // namespace

int main(int argc, char** argv) {
  const long rounds = target_number(argc, argv, 1, 1000);
  if (2 * rounds > kMaxKept) return 64;
  if (argc > 2) std::set_new_handler(throw_bad_alloc);
  target_say("ready");
  target_await("go");
  target_say(run(rounds) ? "done" : "broken");
  target_say_ledger(&kept, 1);
  target_await_quit();
}
