// SPDX-License-Identifier: Apache-2.0
//
// Calls of functions that an exception may pass: no return probe, probes on their return
// instructions; and the other shapes of allocators that are not C's.
#include <doctest/doctest.h>

#include "trace.h"

using namespace tidemark::bpf_host;
using Addresses = std::vector<uint64_t>;

namespace {

void whole_new(Thread& thread, uint64_t size, uint64_t result) {
  thread.call(thread.caller);
  thread.enter(kNew, {size});
  thread.leave_bare(result);
}

}  // namespace

TEST_CASE("bare: the return instruction settles the call") {
  Trace trace;
  whole_new(trace.main, 100, 0xa000);
  whole_new(trace.other, 50, 0xb000);
  CHECK(trace.live() == Totals{150, 2});
  CHECK(trace.adds_up());
  trace.other.whole_call(kDelete, {0xa000}, 0);
  CHECK(trace.addresses() == Addresses{0xb000});
  CHECK(trace.counted_only({}));
}

TEST_CASE("bare: what it calls is a part of it") {
  Trace trace;
  trace.main.call(0x1001);
  trace.main.enter(kNew, {100});
  trace.main.inner_call(kMalloc, {100}, 0xa000);
  CHECK(trace.addresses().empty());
  trace.main.leave_bare(0xa000);
  CHECK(trace.live() == Totals{100, 1});
  CHECK(trace.counted_only({{TM_COUNTER_nested_calls, {1, 100}}}));
}

TEST_CASE("bare: a jump to another probed function, which returns for both") {
  Trace trace;
  SUBCASE("with a return probe") {
    trace.main.call(0x1001);
    trace.main.enter(kNew, {100});
    trace.main.enter(kMalloc, {100});
    trace.main.leave(0xa000);
  }
  SUBCASE("bare as well") {
    trace.main.call(0x1001);
    trace.main.enter(kNewArray, {100});
    trace.main.enter(kNew, {100});
    trace.main.leave_bare(0xa000);
  }
  CHECK(trace.live() == Totals{100, 1});
  CHECK(trace.counted_only({{TM_COUNTER_nested_calls, {1, 100}}}));
}

TEST_CASE("bare: a return instruction that another function shares settles nothing of it") {
  Trace trace;
  trace.main.call(0x1001);
  trace.main.enter(kNew, {100});
  trace.main.call(0x5100);
  trace.main.leave_bare(0xdead);  // of something that the function calls
  CHECK(trace.addresses().empty());
  trace.main.leave_bare(0xa000);
  CHECK(trace.addresses() == Addresses{0xa000});
  CHECK(trace.counted_only({}));
}

TEST_CASE("bare: an exception leaves it, and its memory is a block like any other") {
  Trace trace;
  const uint64_t outside = trace.main.sp;
  trace.main.call(0x1001);
  trace.main.enter(kNew, {1ull << 40});
  trace.main.make_exception();
  trace.main.call(0x9999);
  trace.main.enter(kMalloc, {136});
  trace.main.leave(0xe000);
  CHECK(trace.addresses() == Addresses{0xe000});
  trace.main.jump_out_to(outside);
  trace.main.free(0xe000);
  // Called again from the very same place.
  whole_new(trace.main, 10, 0xa000);
  CHECK(trace.live() == Totals{10, 1});
  CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {1, 1ull << 40}}}));
}

TEST_CASE("bare: exceptions elsewhere mean nothing") {
  Trace trace;
  trace.main.make_exception();
  trace.main.call(0x1001);
  trace.main.enter(kMalloc, {10});
  trace.main.make_exception();
  trace.main.leave(0xa000);
  CHECK(trace.live() == Totals{10, 1});
  CHECK(trace.counted_only({}));
}

TEST_CASE("bare: left without a word it is a loss") {
  Trace trace;
  const uint64_t outside = trace.main.sp;
  trace.main.call(0x1001);
  trace.main.enter(kNew, {100});
  trace.main.jump_out_to(outside);
  SUBCASE("called again from the same place") {}
  SUBCASE("called from further out") {
    trace.main.sp += 64;
  }
  SUBCASE("its place on the stack used for something else") {
    trace.main.call(0x7777);
  }
  whole_new(trace.main, 10, 0xa000);
  CHECK(trace.live() == Totals{10, 1});
  CHECK(trace.counted_only({{TM_COUNTER_abandoned_calls, {1, 100}}}));
}

TEST_CASE("delete: the free inside it is no free of its own") {
  Trace trace;
  trace.main.malloc(10, 0xa000);
  trace.main.call(0x1001);
  trace.main.enter(kDelete, {0xa000});
  trace.main.inner_call(kFree, {0xa000}, 0);
  trace.main.leave(0);
  CHECK(trace.live() == Totals{0, 0});
  CHECK(trace.counted_only({}));
  // Only once: what is freed then is not known.
  trace.main.free(0xa000);
  trace.main.whole_call(kDelete, {0xf000}, 0);
  CHECK(trace.counted_only({{TM_COUNTER_unmatched_frees, {2, 0}}}));
}

TEST_CASE("reallocf: a failure frees the old block") {
  Trace trace;
  trace.main.malloc(10, 0xa000);
  trace.main.call(0x1001);
  trace.main.enter(kReallocf, {0xa000, 1ull << 40});
  trace.main.inner_call(kFree, {0xa000}, 0);
  trace.main.leave(0);
  CHECK(trace.live() == Totals{0, 0});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {1, 1ull << 40}}}));
  trace.main.malloc(10, 0xb000);
  trace.main.whole_call(kReallocf, {0xb000, 20}, 0xc000);
  CHECK(trace.addresses() == Addresses{0xc000});
  CHECK(trace.live() == Totals{20, 1});
}

TEST_CASE("resize: in place if the result has room for it, else nothing happens") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  trace.main.whole_call(kResize, {0xa000, 120}, 128);
  CHECK(trace.block(0xa000).size_bytes == 120);
  CHECK(trace.live() == Totals{120, 1});
  trace.main.whole_call(kResize, {0xa000, 500}, 128);
  CHECK(trace.block(0xa000).size_bytes == 120);
  CHECK(trace.live() == Totals{120, 1});
  CHECK(trace.adds_up());
}

TEST_CASE("arenas: the first argument says nothing") {
  Trace trace;
  trace.main.whole_call(kArenaCalloc, {0x77, 3, 5}, 0xa000);
  CHECK(trace.block(0xa000).size_bytes == 15);
  trace.main.whole_call(kArenaRealloc, {0x77, 0xa000, 40}, 0xb000);
  CHECK(trace.addresses() == Addresses{0xb000});
  CHECK(trace.live() == Totals{40, 1});
  CHECK(trace.counted_only({}));
  trace.main.whole_call(kBulkFree, {0x77}, 0);
  CHECK(trace.counted_only({{TM_COUNTER_bulk_frees, {1, 0}}}));
}
