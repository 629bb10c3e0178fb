// SPDX-License-Identifier: Apache-2.0
//
// Calls of allocators, one at a time and inside each other.
#include <doctest/doctest.h>

#include "trace.h"

using namespace tidemark::bpf_host;
using Addresses = std::vector<uint64_t>;

TEST_CASE("calls: what each shape allocates, and its free") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  trace.main.whole_call(kCalloc, {7, 30}, 0xb000);
  trace.main.whole_call(kMemalign, {64, 300}, 0xc000);
  CHECK(trace.addresses() == Addresses{0xa000, 0xb000, 0xc000});
  CHECK(trace.block(0xa000).size_bytes == 100);
  CHECK(trace.block(0xb000).size_bytes == 210);
  CHECK(trace.block(0xc000).size_bytes == 300);
  CHECK(trace.live() == Totals{610, 3});
  CHECK(trace.adds_up());
  trace.main.free(0xb000);
  trace.other.free(0xa000);
  trace.other.free(0xc000);
  CHECK(trace.live() == Totals{0, 0});
  CHECK(trace.total() == Totals{610, 3});
  CHECK(trace.addresses().empty());
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({}));
  CHECK(trace.hits(kMalloc.probe) == 1);
  CHECK(trace.hits(kFree.probe) == 3);
}

TEST_CASE("calls: a block knows its birth, its size 0 and its caller") {
  Trace trace;
  trace.kernel.now_ns = 77'000;
  trace.main.caller = 0x4242;
  trace.main.malloc(0, 0xa000);
  CHECK(trace.block(0xa000).birth_ns == 77'000);
  CHECK(trace.block(0xa000).size_bytes == 0);
  CHECK(trace.frames_of(0xa000) == std::vector<uint64_t>{0x4242});
  CHECK(trace.live() == Totals{0, 1});
}

TEST_CASE("calls: NULL is no block, whatever was asked for") {
  Trace trace;
  trace.main.malloc(1000, 0);
  trace.main.whole_call(kMemalign, {64, 24}, 0);
  CHECK(trace.total() == Totals{0, 0});
  CHECK(trace.addresses().empty());
  CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {2, 1024}}}));
  trace.main.free(0);
  CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {2, 1024}}}));
}

TEST_CASE("calls: calloc(0, n) asks for nothing, and one that overflows asks for all there is") {
  Trace trace;
  trace.main.whole_call(kCalloc, {0, 16}, 0xa000);
  CHECK(trace.block(0xa000).size_bytes == 0);
  trace.main.whole_call(kCalloc, {1ull << 33, 1ull << 33}, 0);
  CHECK(trace.live() == Totals{0, 1});
  CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {1, ~0ull}}}));
}

TEST_CASE("posix_memalign: the return code says whether *memptr is a block") {
  Trace trace;
  const uint64_t memptr = trace.main.sp + 64;
  const Arguments arguments{memptr, 64, 500};
  trace.kernel.write(memptr, 0xa000);
  SUBCASE("0: it is") {
    trace.main.whole_call(kPosixMemalign, arguments, 0);
    CHECK(trace.addresses() == Addresses{0xa000});
    CHECK(trace.block(0xa000).size_bytes == 500);
    CHECK(trace.counted_only({}));
  }
  SUBCASE("0 in the int that it returns, anything above it") {
    trace.main.whole_call(kPosixMemalign, arguments, 0xdeadbeef00000000);
    CHECK(trace.addresses() == Addresses{0xa000});
    CHECK(trace.counted_only({}));
  }
  SUBCASE("ENOMEM: it is not, although a value is there") {
    trace.main.whole_call(kPosixMemalign, arguments, 12);
    CHECK(trace.addresses().empty());
    CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {1, 500}}}));
  }
  SUBCASE("0 and NULL: no block") {
    trace.kernel.write(memptr, 0);
    trace.main.whole_call(kPosixMemalign, arguments, 0);
    CHECK(trace.addresses().empty());
    CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {1, 500}}}));
  }
  SUBCASE("0, but it cannot be read: lost and counted") {
    trace.main.whole_call(kPosixMemalign, {0x10, 64, 500}, 0);
    CHECK(trace.addresses().empty());
    CHECK(trace.counted_only({{TM_COUNTER_unreadable_results, {1, 500}}}));
  }
  CHECK(trace.adds_up());
}

TEST_CASE("nested: the outermost call wins") {
  Trace trace;
  trace.main.call(0x1001);
  trace.main.enter(kPosixMemalign, {trace.main.sp + 64, 64, 500});
  trace.kernel.write(trace.main.sp + 64, 0xa040);
  trace.main.push(0);
  trace.main.inner_call(kMemalign, {64, 512}, 0xa040);
  trace.main.inner_call(kMalloc, {600}, 0xa000);
  trace.main.sp += 8;
  trace.main.leave(0);
  CHECK(trace.addresses() == Addresses{0xa040});
  CHECK(trace.block(0xa040).size_bytes == 500);
  CHECK(trace.hits(kMemalign.probe) == 1);
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_nested_calls, {2, 1112}}}));
}

TEST_CASE("nested: a call that fails inside is not counted, its caller decides") {
  Trace trace;
  trace.main.call(0x1001);
  trace.main.enter(kCalloc, {1, 100});
  trace.main.inner_call(kMalloc, {116}, 0);
  trace.main.inner_call(kMalloc, {100}, 0xa000);
  trace.main.leave(0xa000);
  CHECK(trace.live() == Totals{100, 1});
  CHECK(trace.counted_only({{TM_COUNTER_nested_calls, {2, 216}}}));
}

TEST_CASE("nested: a tail call, another function at the same stack pointer under the trampoline") {
  Trace trace;
  trace.main.call(0x1001);
  trace.main.enter(kMemalign, {16, 200});
  trace.main.enter(kMalloc, {216});
  trace.main.leave(0xa000);
  CHECK(trace.addresses() == Addresses{0xa000});
  CHECK(trace.block(0xa000).size_bytes == 200);
  CHECK(trace.frames_of(0xa000).front() == 0x1001);
  CHECK(trace.total() == Totals{200, 1});
  CHECK(trace.counted_only({{TM_COUNTER_nested_calls, {1, 216}}}));
  trace.main.malloc(50, 0xb000);
  CHECK(trace.live() == Totals{250, 2});
  CHECK(trace.counted_only({{TM_COUNTER_nested_calls, {1, 216}}}));
}

TEST_CASE("nested: a signal handler on a stack of its own interrupts, whichever stack is higher") {
  Trace trace;
  uint64_t own_stack = 0x600000;
  SUBCASE("lower") {}
  SUBCASE("higher") {
    own_stack = 0x7fff00000000;
  }
  trace.kernel.add_memory(own_stack, own_stack + 0x4000);
  trace.main.call(0x1001);
  trace.main.enter(kRealloc, {0, 100});
  const uint64_t interrupted = trace.main.sp;
  trace.main.sp = own_stack + 0x2000;
  trace.main.malloc(20, 0xb000);
  trace.main.sp = interrupted;
  trace.main.leave(0xa000);
  CHECK(trace.addresses() == Addresses{0xa000});
  CHECK(trace.live() == Totals{100, 1});
  CHECK(trace.counted_only({{TM_COUNTER_interrupting_calls, {1, 20}}}));
}

TEST_CASE("nested: a signal handler on the same stack, told by where it calls from") {
  Trace trace;
  trace.main.call(0x1001);
  trace.main.enter(kMalloc, {100});
  trace.main.push(0);
  trace.main.whole_call(kMalloc, {20}, 0xb000);
  trace.main.inner_call(kMalloc, {7}, 0xc000);
  trace.main.sp += 8;
  trace.main.leave(0xa000);
  CHECK(trace.live() == Totals{100, 1});
  CHECK(trace.counted_only(
      {{TM_COUNTER_interrupting_calls, {1, 20}}, {TM_COUNTER_nested_calls, {1, 7}}}));
}

TEST_CASE("abandoned: the same function again where it stood, or any further out") {
  Trace trace;
  trace.main.call(0x1001);
  trace.main.enter(kMalloc, {300});
  trace.main.jump_out_to(trace.main.sp + 8);
  SUBCASE("from the same place") {
    trace.main.malloc(10, 0xa000);
  }
  SUBCASE("from another place") {
    trace.main.caller = 0x9001;
    trace.main.malloc(10, 0xa000);
  }
  SUBCASE("another function, from the same place") {
    trace.main.whole_call(kCalloc, {1, 10}, 0xa000);
  }
  SUBCASE("another function, further out") {
    trace.main.jump_out_to(trace.main.sp + 0x100);
    trace.main.caller = 0x9001;
    trace.main.whole_call(kCalloc, {1, 10}, 0xa000);
  }
  CHECK(trace.live() == Totals{10, 1});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_abandoned_calls, {1, 300}}}));
}

// The slot holds a return address of the target's, so it is no tail call.
TEST_CASE("abandoned: another function from another place at the same stack pointer") {
  Trace trace;
  trace.main.call(0x1001);
  trace.main.enter(kMalloc, {300});
  trace.main.jump_out_to(trace.main.sp + 8);
  trace.main.caller = 0x9001;
  trace.main.whole_call(kCalloc, {1, 10}, 0xa000);
  CHECK(trace.live() == Totals{10, 1});
  CHECK(trace.frames_of(0xa000).front() == 0x9001);
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_abandoned_calls, {1, 300}}}));
}

TEST_CASE("abandoned: deeper calls are followed again once its frame was used by others") {
  Trace trace;
  trace.main.call(0x1001);
  const uint64_t slot = trace.main.sp;
  trace.main.enter(kMalloc, {300});
  trace.main.jump_out_to(slot + 0x40);
  // Now a function whose frame covers the slot.
  trace.main.sp = slot - 0x40;
  uint64_t there = 0x12345;
  SUBCASE("a number") {}
  SUBCASE("zero") {
    there = 0;
  }
  SUBCASE("a return address") {
    there = 0x9001;
  }
  trace.kernel.write(slot, there);
  trace.main.caller = 0x9001;
  trace.main.whole_call(kCalloc, {1, 10}, 0xa000);
  CHECK(trace.live() == Totals{10, 1});
  CHECK(trace.frames_of(0xa000).front() == 0x9001);
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_abandoned_calls, {1, 300}}}));
}

TEST_CASE("abandoned: counted once, and the thread is followed again") {
  Trace trace;
  trace.main.call(0x1001);
  trace.main.enter(kMalloc, {300});
  trace.main.jump_out_to(trace.main.sp + 0x80);
  trace.main.malloc(1, 0xa000);
  trace.main.malloc(2, 0xb000);
  CHECK(trace.live() == Totals{3, 2});
  CHECK(trace.counted_only({{TM_COUNTER_abandoned_calls, {1, 300}}}));
}

TEST_CASE("threads: calls of two threads do not mix") {
  Trace trace;
  trace.main.call(0x1001);
  trace.main.enter(kMalloc, {100});
  trace.other.call(0x2001);
  trace.other.enter(kMalloc, {20});
  trace.main.leave(0xa000);
  trace.other.leave(0xb000);
  CHECK(trace.block(0xa000).size_bytes == 100);
  CHECK(trace.frames_of(0xa000).front() == 0x1001);
  CHECK(trace.block(0xb000).size_bytes == 20);
  CHECK(trace.frames_of(0xb000).front() == 0x2001);
  CHECK(trace.counted_only({}));
}

TEST_CASE("site: a probe behind pushes finds the return address and the end of the call") {
  Trace trace;
  Function late = kMalloc;
  late.stack_words = 3;
  // The return probe's slot is the same, the entry's program saw the stack three words lower.
  trace.main.call(0x1001);
  const uint64_t slot = trace.main.sp;
  trace.kernel.write(slot - 8, 0x6666);
  trace.kernel.write(slot - 24, 0x7777);
  trace.main.enter(late, {100});
  trace.main.leave(0xa000);
  CHECK(trace.frames_of(0xa000).front() == 0x1001);
  CHECK(trace.live() == Totals{100, 1});
  CHECK(trace.counted_only({}));
}

TEST_CASE("gate: closed nothing is counted, learning only walks stacks") {
  Trace trace;
  SUBCASE("closed") {
    gate_state = TM_GATE_CLOSED;
    trace.main.fp = trace.main.sp + 0x100;
  }
  SUBCASE("learning") {
    gate_state = TM_GATE_LEARNING;
  }
  trace.main.malloc(100, 0xa000);
  CHECK(trace.total() == Totals{0, 0});
  CHECK(trace.kernel.table("stacks").size() == 0);
  CHECK(trace.asked().size() == (gate_state == TM_GATE_LEARNING ? 1 : 0));
  gate_state = TM_GATE_OPEN;
  trace.main.malloc(7, 0xb000);
  CHECK(trace.live() == Totals{7, 1});
  CHECK(trace.counted_only({}));
}

TEST_CASE("gate: while it drains, calls under way and frees are counted, no new calls") {
  Trace trace;
  trace.main.malloc(30, 0xc000);
  trace.main.call(0x1001);
  trace.main.enter(kMalloc, {100});
  gate_state = TM_GATE_DRAINING;
  trace.other.malloc(20, 0xb000);
  trace.main.leave(0xa000);
  CHECK(trace.addresses() == Addresses{0xa000, 0xc000});
  trace.other.free(0xc000);
  CHECK(trace.addresses() == Addresses{0xa000});
  CHECK(trace.live() == Totals{100, 1});
  CHECK(trace.adds_up());
}

TEST_CASE("gate: what began before it opened is not counted, nothing is once it is closed") {
  Trace trace;
  gate_state = TM_GATE_CLOSED;
  trace.other.call(0x2001);
  trace.other.enter(kMalloc, {20});
  gate_state = TM_GATE_OPEN;
  trace.other.leave(0xb000);
  CHECK(trace.total() == Totals{0, 0});
  trace.main.malloc(100, 0xa000);
  gate_state = TM_GATE_CLOSED;
  trace.main.free(0xa000);
  CHECK(trace.live() == Totals{100, 1});
  CHECK(trace.counted_only({}));
}

TEST_CASE("probe: a cookie that is not known yet is counted, not guessed") {
  Trace trace;
  Function unknown = kMalloc;
  unknown.valid_cookie = false;
  trace.main.whole_call(unknown, {100}, 0xa000);
  CHECK(trace.total() == Totals{0, 0});
  CHECK(trace.hits(kMalloc.probe) == 0);
  CHECK(trace.counted_only({{TM_COUNTER_unknown_probes, {1, 0}}}));
}

TEST_CASE("probe: the free of a cookie that is not known takes the block, but is no probe's hit") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  const uint64_t before = trace.hits(0);
  set_constants({.attach_cookie = false});
  trace.main.free(0xa000);
  CHECK(trace.live() == Totals{0, 0});
  CHECK(trace.hits(0) == before);
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_unknown_probes, {1, 0}}}));
}

TEST_CASE("probe: without the kernel's cookies they are found by address and process") {
  Trace trace;
  set_constants({.attach_cookie = false});
  const tm_cookie cookie{.probe = 9,
                         .allocator = 0,
                         .stack_words = 0,
                         .flags = TM_COOKIE_VALID,
                         .argument_registers = 0};
  const tm_probe_address here{.pc = 0x5000, .tgid = 100, .unused = 0};
  const tm_probe_address elsewhere{.pc = 0x5000, .tgid = 200, .unused = 0};
  REQUIRE(trace.kernel.table("cookies_by_address").update(&elsewhere, &cookie, 0) == 0);
  trace.main.malloc(100, 0xa000);
  CHECK(trace.counted_only({{TM_COUNTER_unknown_probes, {1, 0}}}));
  REQUIRE(trace.kernel.table("cookies_by_address").update(&here, &cookie, 0) == 0);
  trace.main.malloc(50, 0xb000);
  CHECK(trace.live() == Totals{50, 1});
  CHECK(trace.hits(9) == 1);
}

TEST_CASE("thread state: by thread id where the kernel has no task storage") {
  Trace trace;
  set_constants({.task_storage = false});
  trace.main.call(0x1001);
  trace.main.enter(kMalloc, {100});
  trace.other.malloc(20, 0xb000);
  trace.main.leave(0xa000);
  CHECK(trace.live() == Totals{120, 2});
  CHECK(trace.kernel.table("threads_by_tid").size() == 2);
  CHECK(trace.kernel.table("threads").size() == 0);
  CHECK(trace.counted_only({}));
}

TEST_CASE("thread state: no room for it is a counted loss") {
  Trace trace;
  SUBCASE("task storage") {
    trace.kernel.no_storage = true;
  }
  SUBCASE("by thread id") {
    set_constants({.task_storage = false});
    trace.kernel.table("threads_by_tid").set_capacity(0);
  }
  trace.main.malloc(100, 0xa000);
  CHECK(trace.total() == Totals{0, 0});
  // At the entry, and at the return, which cannot know whether it was.
  CHECK(trace.counted_only({{TM_COUNTER_threads_full, {2, 100}}}));
  trace.main.free(0xa000);
  CHECK(trace.counted_only(
      {{TM_COUNTER_threads_full, {2, 100}}, {TM_COUNTER_unmatched_frees, {1, 0}}}));
}
