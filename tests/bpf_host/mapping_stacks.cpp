// SPDX-License-Identifier: Apache-2.0
//
// Who asked for a mapping: the stack where its rules are known, else as much of it as there is room
// for; and whether it was an allocator that is in a call of its own.
#include <doctest/doctest.h>

#include "mapping_trace.h"

using namespace tidemark::bpf_host;

namespace {

constexpr uint64_t kCaller = 0x2001;  // behind the system call instruction
constexpr uint64_t kRing = uint64_t{1} << 23;

tm_rule rule(tm_rule_kind kind, int32_t cfa_offset = 0) {
  return {.cfa_offset = cfa_offset,
          .fp_offset = 0,
          .kind = static_cast<uint8_t>(kind),
          .saved_fp = TM_FP_SAME,
          .cfa_added = 0,
          .unused = {}};
}

MappingTrace::Told mapped(MappingTrace& trace) {
  trace.call(__NR_mmap, {0, 0x3000, 3, 0x22}, 0x10000);
  auto told = trace.take();
  REQUIRE(told.size() == 1);
  CHECK(told[0].record.length == 0x3000);
  return told[0];
}

tm_sample_head head_of(const MappingTrace::Told& told) {
  tm_sample_head head{};
  REQUIRE(told.record.detail == TM_MAPPING_WITH_SAMPLE);
  REQUIRE(told.behind.size() >= sizeof(head));
  std::memcpy(&head, told.behind.data(), sizeof(head));
  CHECK(told.behind.size() >= sizeof(head) + head.size_bytes);
  return head;
}

uint64_t word_of(const MappingTrace::Told& told, uint64_t address) {
  uint64_t word = 0;
  const uint64_t at = sizeof(tm_sample_head) + address - head_of(told).start;
  REQUIRE(at + sizeof(word) <= told.behind.size());
  std::memcpy(&word, told.behind.data() + at, sizeof(word));
  return word;
}

}  // namespace

TEST_CASE("mapping stacks: with all rules known the walk itself is sent, as far as it goes") {
  MappingTrace trace;
  trace.put_rule(kCaller, rule(TM_RULE_SP, 32));
  trace.put_rule(0x3001, rule(TM_RULE_BOTTOM));
  trace.kernel.write(trace.main.sp + 24, 0x3001);
  const auto told = mapped(trace);
  REQUIRE(told.record.detail == TM_MAPPING_WITH_STACK);
  CHECK(told.record.tid == 100);
  CHECK(told.record.pc == kCaller);
  CHECK(told.record.sp == trace.main.sp);
  tm_stack stack{};
  REQUIRE(told.behind.size() == 8 + 2 * sizeof(uint64_t));
  std::memcpy(&stack, told.behind.data(), told.behind.size());
  CHECK(stack.depth == 2);
  CHECK(stack.end == TM_STACK_BOTTOM);
  CHECK(stack.frames[0] == kCaller);
  CHECK(stack.frames[1] == 0x3001);
  CHECK(trace.asked().empty());
  CHECK(trace.kernel.table("stacks").size() == 0);
  CHECK(trace.counted_only({}));
}

TEST_CASE("mapping stacks: where a rule is wanting the inner end of the stack itself is sent") {
  MappingTrace trace;
  trace.main.sp += 8;  // not where a chunk begins
  trace.kernel.write(trace.main.sp + 16, 0x1234);
  trace.kernel.write(trace.main.sp + 0x2000, 0x5678);
  const auto told = mapped(trace);
  const tm_sample_head head = head_of(told);
  CHECK(head.start == (trace.main.sp & ~uint64_t{TM_SAMPLE_CHUNK - 1}));
  CHECK(head.start < trace.main.sp);
  CHECK(head.size_bytes == TM_SAMPLE_CHUNK * TM_SAMPLE_CHUNKS);
  CHECK(word_of(told, trace.main.sp + 16) == 0x1234);
  CHECK(word_of(told, trace.main.sp + 0x2000) == 0x5678);
  CHECK(trace.asked() == std::vector<uint64_t>{kCaller});
  CHECK(trace.counted_only({}));
}

TEST_CASE("mapping stacks: the sample ends with the stack") {
  MappingTrace trace;
  const uint64_t end = trace.main.sp + 0x4000;
  trace.main.sp = end - 2 * TM_SAMPLE_CHUNK - 8;
  CHECK(head_of(mapped(trace)).size_bytes == 3 * TM_SAMPLE_CHUNK);
  trace.main.sp = 0xdead0000;  // not a stack at all
  CHECK(head_of(mapped(trace)).size_bytes == 0);
}

TEST_CASE("mapping stacks: the fuller the ring buffer, the less goes along") {
  MappingTrace trace;
  CHECK(mapped(trace).behind.size() > 8192);
  trace.kernel.waiting_bytes = kRing / 4;
  const auto small = mapped(trace);
  CHECK(head_of(small).size_bytes == 2 * TM_SAMPLE_CHUNK);
  CHECK(small.behind.size() < 4096);
  trace.kernel.waiting_bytes = kRing / 4 * 3;
  const auto least = mapped(trace);
  CHECK(least.record.detail == TM_MAPPING_WITH_STACK);
  tm_stack stack{};
  std::memcpy(&stack, least.behind.data(), least.behind.size());
  CHECK(stack.depth == 1);
  CHECK(stack.end == TM_STACK_GUESSED);
  CHECK(trace.counted_only({}));
}

TEST_CASE("mapping stacks: a thread for whose state there is no room is a loss") {
  MappingTrace trace;
  CHECK(mapped(trace).record.tid == 100);
  trace.kernel.no_storage = true;
  trace.call(__NR_munmap, {0x10000, 0x1000}, 0);  // its thread has one already
  CHECK(trace.told().size() == 1);
  const Thread fresh(trace.kernel, {.tgid = 100, .tid = 105, .mm = kMm}, 0x10000, 0x20000);
  trace.begin(fresh, __NR_munmap, {0x10000, 0x1000});
  CHECK(trace.told().empty());
  CHECK(trace.counted_only({{TM_COUNTER_threads_full, {1, 0}}}));
}

TEST_CASE("backing: what is mapped inside an allocator's call is the allocator's") {
  MappingTrace trace;
  Thread& thread = trace.main;
  thread.call(thread.caller);
  thread.enter(kMalloc, {100});
  const uint64_t entry = thread.sp;
  thread.sp -= 256;
  CHECK(mapped(trace).record.backing == 1);
  SUBCASE("not on another stack: a coroutine's or a signal handler's") {
    thread.sp = entry + 64;
    CHECK(mapped(trace).record.backing == 0);
    thread.sp = entry - (uint64_t{2} << 20);
    CHECK(mapped(trace).record.backing == 0);
  }
  SUBCASE("not in another thread") {
    trace.begin(trace.other, __NR_mmap, {0, 0x3000, 3, 0x22});
    trace.end(trace.other, __NR_mmap, {0, 0x3000, 3, 0x22}, 0x40000);
    const auto told = trace.take();
    REQUIRE(told.size() == 1);
    CHECK(told[0].record.backing == 0);
    CHECK(told[0].record.tid == 101);
  }
  SUBCASE("not once it was left without a return") {
    trace.kernel.write(entry, 0x4444);
    CHECK(mapped(trace).record.backing == 0);
  }
  SUBCASE("not when it has returned") {
    thread.sp = entry;
    thread.leave(0xa000);
    thread.sp -= 256;
    CHECK(mapped(trace).record.backing == 0);
  }
}

// Whether it is the heap's is said by the whole stack: the slot may hold what an earlier call left.
TEST_CASE("backing: a call that was decided against is named by where it returns to") {
  MappingTrace trace;
  set_constants({.sampling = true, .sessions = true});
  sampling_interval = TM_MOST_INTERVAL_BYTES;
  Thread& thread = trace.main;
  thread.caller = 0x1008;
  trace.kernel.add_memory(0xf00, 0x1100);
  trace.kernel.write(thread.caller - 8, (uint64_t{0x5000} - thread.caller) << 32 | 0xe8ull << 24);
  thread.call(thread.caller);
  thread.enter(kMallocSession, {100});
  const uint64_t entry = thread.sp;
  REQUIRE(trace.kernel.word_at(entry) == thread.caller);
  thread.sp -= 256;
  const auto told = mapped(trace).record;
  CHECK(told.backing == 0);
  CHECK(told.quiet_caller == thread.caller);
  SUBCASE("not further out") {
    thread.sp = entry + 64;
  }
  SUBCASE("not on another stack") {
    thread.sp = entry - (uint64_t{2} << 20);
  }
  SUBCASE("not once its slot was used again") {
    trace.kernel.write(entry, 0x4444);
  }
  CHECK(mapped(trace).record.quiet_caller == 0);
  set_constants({});
}
