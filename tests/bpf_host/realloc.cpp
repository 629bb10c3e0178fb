// SPDX-License-Identifier: Apache-2.0
//
// realloc: the old record is taken at entry and settled at return.
#include <doctest/doctest.h>

#include "trace.h"

using namespace tidemark::bpf_host;
using Addresses = std::vector<uint64_t>;

namespace {

// One block of 100 bytes at 0xa000, born at 5000, and a later clock.
struct OneBlock : Trace {
  OneBlock() {
    kernel.now_ns = 5000;
    main.malloc(100, 0xa000);
    kernel.now_ns = 9000;
    main.caller = 0x2001;  // of what comes now
  }
  [[nodiscard]] bool old_is_untouched() {
    const tm_block old = block(0xa000);
    return old.size_bytes == 100 && old.birth_ns == 5000 && frames_of(0xa000).front() == 0x1001;
  }
};

}  // namespace

TEST_CASE("realloc: a move is a free and an allocation, the birth stays") {
  OneBlock trace;
  uint64_t moved_to = 0xb000;
  SUBCASE("elsewhere") {}
  SUBCASE("in place") {
    moved_to = 0xa000;
  }
  trace.main.realloc(0xa000, 250, moved_to);
  CHECK(trace.addresses() == Addresses{moved_to});
  CHECK(trace.block(moved_to).size_bytes == 250);
  CHECK(trace.block(moved_to).birth_ns == 5000);
  CHECK(trace.frames_of(moved_to).front() == 0x2001);
  CHECK(trace.live() == Totals{250, 1});
  CHECK(trace.total() == Totals{350, 2});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({}));
}

TEST_CASE("realloc: of NULL allocates") {
  Trace trace;
  trace.kernel.now_ns = 4000;
  trace.main.realloc(0, 30, 0xa000);
  CHECK(trace.live() == Totals{30, 1});
  CHECK(trace.block(0xa000).birth_ns == 4000);
  CHECK(trace.counted_only({}));
}

TEST_CASE("realloc: failed, the old block is restored as it was") {
  OneBlock trace;
  trace.main.realloc(0xa000, 1ull << 60, 0);
  CHECK(trace.old_is_untouched());
  CHECK(trace.live() == Totals{100, 1});
  CHECK(trace.total() == Totals{100, 1});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {1, 1ull << 60}}}));
  trace.main.free(0xa000);
  CHECK(trace.live() == Totals{0, 0});
  CHECK(trace.adds_up());
}

TEST_CASE("realloc: to 0 frees") {
  OneBlock trace;
  SUBCASE("and gives NULL") {
    trace.main.realloc(0xa000, 0, 0);
    CHECK(trace.addresses().empty());
    CHECK(trace.live() == Totals{0, 0});
  }
  SUBCASE("and gives an empty block") {
    trace.main.realloc(0xa000, 0, 0xb000);
    CHECK(trace.addresses() == Addresses{0xb000});
    CHECK(trace.live() == Totals{0, 1});
  }
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({}));
}

TEST_CASE("realloc: of a block that is older than the trace") {
  Trace trace;
  trace.kernel.now_ns = 9000;
  SUBCASE("a free that matches nothing, and an allocation") {
    trace.main.realloc(0x7000, 250, 0xb000);
    CHECK(trace.live() == Totals{250, 1});
    CHECK(trace.block(0xb000).birth_ns == 9000);
    CHECK(trace.counted_only({{TM_COUNTER_unmatched_frees, {1, 0}}}));
  }
  SUBCASE("failed: nothing was freed") {
    trace.main.realloc(0x7000, 250, 0);
    CHECK(trace.live() == Totals{0, 0});
    CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {1, 250}}}));
  }
  SUBCASE("to 0") {
    trace.main.realloc(0x7000, 0, 0);
    CHECK(trace.live() == Totals{0, 0});
    CHECK(trace.counted_only({{TM_COUNTER_unmatched_frees, {1, 0}}}));
  }
  CHECK(trace.adds_up());
}

TEST_CASE("realloc: another thread is given the old address before the return") {
  OneBlock trace;
  trace.main.call(0x2001);
  trace.main.enter(kRealloc, {0xa000, 250});
  trace.other.malloc(40, 0xa000);
  trace.main.leave(0xb000);
  CHECK(trace.addresses() == Addresses{0xa000, 0xb000});
  CHECK(trace.block(0xa000).size_bytes == 40);
  CHECK(trace.block(0xa000).birth_ns == 9000);
  CHECK(trace.block(0xb000).size_bytes == 250);
  CHECK(trace.live() == Totals{290, 2});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({}));
}

TEST_CASE("realloc: what it frees inside itself is its own block, once") {
  OneBlock trace;
  uint64_t block = 0xa000;
  SUBCASE("known") {}
  SUBCASE("older than the trace") {
    block = 0x7000;
  }
  trace.main.call(0x2001);
  trace.main.enter(kRealloc, {block, 250});
  trace.main.inner_call(kMalloc, {250}, 0xb000);
  trace.main.inner_call(kFree, {block}, 0);
  trace.main.leave(0xb000);
  CHECK(trace.block(0xb000).size_bytes == 250);
  CHECK(trace.adds_up());
  if (block == 0xa000) {
    CHECK(trace.live() == Totals{250, 1});
    CHECK(trace.counted_only({{TM_COUNTER_nested_calls, {1, 250}}}));
  } else {
    CHECK(trace.live() == Totals{350, 2});
    CHECK(trace.counted_only(
        {{TM_COUNTER_nested_calls, {1, 250}}, {TM_COUNTER_unmatched_frees, {1, 0}}}));
  }
}

TEST_CASE("realloc: what else is freed inside it is not its block") {
  OneBlock trace;
  trace.main.call(0x2001);
  trace.main.enter(kRealloc, {0xa000, 250});
  trace.main.inner_call(kFree, {0x7000}, 0);
  trace.main.leave(0xb000);
  CHECK(trace.live() == Totals{250, 1});
  CHECK(trace.counted_only({{TM_COUNTER_unmatched_frees, {1, 0}}}));
}

TEST_CASE("realloc: failed, and the table filled up meanwhile") {
  OneBlock trace;
  trace.kernel.table("blocks").set_capacity(1);
  trace.main.call(0x2001);
  trace.main.enter(kRealloc, {0xa000, 250});
  trace.other.malloc(40, 0xc000);
  trace.main.leave(0);
  CHECK(trace.addresses() == Addresses{0xc000});
  CHECK(trace.live() == Totals{40, 1});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only(
      {{TM_COUNTER_failed_allocations, {1, 250}}, {TM_COUNTER_restores_failed, {1, 100}}}));
}

TEST_CASE("realloc: moved, and the table filled up meanwhile") {
  OneBlock trace;
  trace.kernel.table("blocks").set_capacity(1);
  trace.main.call(0x2001);
  trace.main.enter(kRealloc, {0xa000, 250});
  trace.other.malloc(40, 0xc000);
  trace.main.leave(0xb000);
  CHECK(trace.addresses() == Addresses{0xc000});
  CHECK(trace.live() == Totals{40, 1});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_blocks_full, {1, 250}}}));
}

TEST_CASE("realloc: moved to an address whose free was missed") {
  OneBlock trace;
  trace.main.malloc(60, 0xb000);
  trace.main.realloc(0xa000, 250, 0xb000);
  CHECK(trace.addresses() == Addresses{0xb000});
  CHECK(trace.live() == Totals{250, 1});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_missed_frees, {1, 60}}}));
}

TEST_CASE("realloc: abandoned, the old block is restored") {
  OneBlock trace;
  trace.main.call(0x2001);
  trace.main.enter(kRealloc, {0xa000, 250});
  trace.main.jump_out_to(trace.main.sp + 8);
  trace.main.malloc(10, 0xb000);
  CHECK(trace.old_is_untouched());
  CHECK(trace.live() == Totals{110, 2});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_abandoned_calls, {1, 250}}}));
}

TEST_CASE("realloc: two in a row do not share what they took") {
  OneBlock trace;
  trace.main.realloc(0xa000, 250, 0xb000);
  trace.main.realloc(0, 10, 0xc000);
  trace.main.realloc(0x7000, 20, 0);
  trace.main.realloc(0xb000, 300, 0);
  CHECK(trace.live() == Totals{260, 2});
  CHECK(trace.block(0xb000).size_bytes == 250);
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {2, 320}}}));
}

TEST_CASE("reallocarray: asks for the product; what overflows fails and loses nothing") {
  OneBlock trace;
  trace.main.whole_call(kReallocarray, {0xa000, 1ull << 40, 1ull << 40}, 0);
  CHECK(trace.old_is_untouched());
  trace.main.whole_call(kReallocarray, {0xa000, 5, 8}, 0xb000);
  CHECK(trace.addresses() == Addresses{0xb000});
  CHECK(trace.live() == Totals{40, 1});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {1, ~0ull}}}));
}

// realloc() itself is jumped to: glibc's reallocarray.
TEST_CASE("reallocarray: that jumps to realloc is one call") {
  OneBlock trace;
  trace.main.call(0x2001);
  trace.main.enter(kReallocarray, {0xa000, 5, 8});
  trace.main.enter(kRealloc, {0xa000, 40});
  trace.main.leave(0xb000);
  CHECK(trace.addresses() == Addresses{0xb000});
  CHECK(trace.live() == Totals{40, 1});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_nested_calls, {1, 40}}}));
}

// Pitfall 5: what could not be recorded must not leave a block that lives for ever.
TEST_CASE("realloc: that cannot be followed leaves no block that is gone") {
  OneBlock trace;
  trace.kernel.no_storage = true;
  trace.other.realloc(0xa000, 250, 0xb000);
  CHECK(trace.addresses().empty());
  CHECK(trace.live() == Totals{0, 0});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_threads_full, {2, 250}}}));
}
