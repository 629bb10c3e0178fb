// SPDX-License-Identifier: Apache-2.0
//
// How a stack is walked, by rule and along the frame pointer. The frame of the allocator's caller
// begins at `base`, where its stack pointer stands when it calls:
//
//     base + 24   return address   <- CFA = base + 32
//     base + 16   saved frame pointer
//     base        locals
#include <doctest/doctest.h>

#include <bit>
#include <cstring>

#include "walk.h"

using namespace tidemark::bpf_host;

TEST_CASE("walk: by a stack-pointer rule") {
  Walk walk;
  walk.put_rule(0x1001, cfa_rule(TM_RULE_SP, 32));
  walk.put_rule(0x2001, cfa_rule(TM_RULE_SP, 16));
  walk.put_rule(0x3001, kBottomRule);
  walk.word(24, 0x2001);
  walk.word(40, 0x3001);
  CHECK(walk.frames() == Frames{0x1001, 0x2001, 0x3001});
  CHECK(walk.end() == TM_STACK_BOTTOM);
  CHECK(walk.asked().empty());
  CHECK(walk.counted_only({}));
}

TEST_CASE("walk: by a frame-pointer rule, the stack pointer is not looked at") {
  Walk walk;
  walk.main.fp = walk.base + 64;
  walk.put_rule(0x1001, saving_rule(TM_RULE_FP, 16, -16));
  walk.put_rule(0x2001, saving_rule(TM_RULE_FP, 16, -16));
  walk.put_rule(0x3001, kBottomRule);
  walk.word(64, walk.base + 128);
  walk.word(72, 0x2001);
  walk.word(136, 0x3001);
  CHECK(walk.frames() == Frames{0x1001, 0x2001, 0x3001});
  CHECK(walk.end() == TM_STACK_BOTTOM);
}

TEST_CASE("walk: a frame pointer that was not saved stays in its register") {
  Walk walk;
  walk.main.fp = walk.base + 64;
  walk.put_rule(0x1001, cfa_rule(TM_RULE_SP, 32));
  walk.put_rule(0x2001, saving_rule(TM_RULE_FP, 16, -16));
  walk.put_rule(0x3001, kBottomRule);
  walk.word(16, 0xdead0);
  walk.word(24, 0x2001);
  walk.word(72, 0x3001);
  CHECK(walk.frames() == Frames{0x1001, 0x2001, 0x3001});
}

TEST_CASE("walk: a frame pointer that was saved at another place") {
  Walk walk;
  walk.put_rule(0x1001, saving_rule(TM_RULE_SP, 48, -40));
  walk.put_rule(0x2001, saving_rule(TM_RULE_FP, 16, -16));
  walk.put_rule(0x3001, kBottomRule);
  walk.word(8, walk.base + 96);
  walk.word(32, 0xdead0);
  walk.word(40, 0x2001);
  walk.word(104, 0x3001);
  CHECK(walk.frames() == Frames{0x1001, 0x2001, 0x3001});
}

TEST_CASE("walk: a frame pointer saved where nothing can be read cuts the stack") {
  Walk walk;
  walk.put_rule(0x1001, saving_rule(TM_RULE_SP, 48, -0x100000));
  walk.word(40, 0x2001);
  CHECK(walk.frames() == Frames{0x1001});
  CHECK(walk.end() == TM_STACK_BROKEN);
}

TEST_CASE("walk: along the chain of frame pointers") {
  Walk walk;
  tm_stack_end expected = TM_STACK_BROKEN;
  walk.main.fp = walk.base + 32;
  walk.word(32, walk.base + 96);
  walk.word(40, 0x2001);
  walk.word(96, 0);
  walk.word(104, 0x3001);
  SUBCASE("where a rule says so") {
    for (const uint64_t pc : {0x1001, 0x2001, 0x3001}) walk.put_rule(pc, kind_only(TM_RULE_CHAIN));
    CHECK(walk.frames() == Frames{0x1001, 0x2001, 0x3001});
    CHECK(walk.asked().empty());
  }
  SUBCASE("while the rules are asked for") {
    expected = TM_STACK_GUESSED;
    CHECK(walk.frames() == Frames{0x1001, 0x2001, 0x3001});
    CHECK(walk.asked() == Frames{0x1001, 0x2001, 0x3001});
  }
  SUBCASE("while they are pending") {
    expected = TM_STACK_GUESSED;
    for (const uint64_t pc : {0x1001, 0x2001, 0x3001})
      walk.put_rule(pc, kind_only(TM_RULE_PENDING));
    CHECK(walk.frames() == Frames{0x1001, 0x2001, 0x3001});
    CHECK(walk.asked().empty());
  }
  CHECK(walk.end() == expected);  // at a frame pointer of 0
}

TEST_CASE("walk: a rule is asked for once for each address") {
  Walk walk;
  walk.main.fp = walk.base + 32;
  walk.word(32, 0);
  walk.word(40, 0x2001);
  walk.main.malloc(1, 0xa000);
  walk.main.malloc(1, 0xb000);
  walk.other.malloc(1, 0xc000);
  CHECK(walk.asked() == Frames{0x1001, 0x2001});
  walk.main.caller = 0x5001;
  walk.main.malloc(1, 0xd000);
  CHECK(walk.asked() == Frames{0x1001, 0x2001, 0x5001});
}

TEST_CASE("walk: a request that found no room is counted and made again") {
  Walk walk;
  walk.kernel.ring_room = 0;
  walk.main.malloc(1, 0xa000);
  CHECK(walk.counted_only({{TM_COUNTER_rules_full, {1, 0}}}));
  walk.kernel.ring_room = 1;
  walk.main.malloc(1, 0xb000);
  CHECK(walk.asked() == Frames{0x1001});
  CHECK(walk.counted_only({{TM_COUNTER_rules_full, {1, 0}}}));
}

TEST_CASE("walk: a full table of rules is counted, the chain serves") {
  Walk walk;
  walk.kernel.table("rules").set_capacity(1);
  walk.main.fp = walk.base + 32;
  walk.word(40, 0x2001);
  CHECK(walk.frames() == Frames{0x1001, 0x2001});
  CHECK(walk.asked() == Frames{0x1001});
  CHECK(walk.counted_only({{TM_COUNTER_rules_full, {1, 0}}}));
}

TEST_CASE("walk: what ends it at once") {
  Walk walk;
  walk.main.fp = walk.base + 32;
  walk.word(40, 0x2001);
  tm_stack_end expected = TM_STACK_BROKEN;
  SUBCASE("nothing called this") {
    walk.put_rule(0x1001, kBottomRule);
    expected = TM_STACK_BOTTOM;
  }
  SUBCASE("no code") {
    walk.put_rule(0x1001, kind_only(TM_RULE_NONE));
  }
  SUBCASE("a return address of 0") {
    walk.word(40, 0);
    expected = TM_STACK_BOTTOM;
  }
  SUBCASE("a frame pointer of 0: it may as well be a number") {
    expected = TM_STACK_GUESSED;
    walk.main.fp = 0;
  }
  SUBCASE("a CFA where the stack pointer stands") {
    walk.put_rule(0x1001, cfa_rule(TM_RULE_SP, 0));
  }
  SUBCASE("a CFA below") {
    walk.put_rule(0x1001, cfa_rule(TM_RULE_SP, -32));
  }
  SUBCASE("a CFA that is no multiple of 8") {
    walk.put_rule(0x1001, cfa_rule(TM_RULE_SP, 44));
  }
  SUBCASE("a CFA in memory that cannot be read") {
    walk.put_rule(0x1001, cfa_rule(TM_RULE_SP, 0x10000));
  }
  SUBCASE("a frame pointer that points down") {
    expected = TM_STACK_GUESSED;
    walk.main.fp = walk.base - 64;
  }
  SUBCASE("a frame pointer to anywhere") {
    expected = TM_STACK_GUESSED;
    walk.main.fp = 0x1234567890;
  }
  CHECK(walk.frames() == Frames{0x1001});
  CHECK(walk.end() == expected);
}

TEST_CASE("walk: frames may lie 8 MiB apart, not more") {
  Walk walk;
  constexpr int32_t kLimit = 8 << 20;
  // The caller's stack pointer stands where its locals begin.
  walk.kernel.add_memory(walk.base + 0x100000, walk.base + 0x1000000);
  walk.word(kLimit - 8, 0x2001);
  walk.word(kLimit, 0x3001);
  walk.put_rule(0x2001, kBottomRule);
  walk.put_rule(0x3001, kBottomRule);
  SUBCASE("the farthest") {
    walk.put_rule(0x1001, cfa_rule(TM_RULE_SP, kLimit));
    CHECK(walk.frames() == Frames{0x1001, 0x2001});
    CHECK(walk.end() == TM_STACK_BOTTOM);
  }
  SUBCASE("one word more") {
    walk.put_rule(0x1001, cfa_rule(TM_RULE_SP, kLimit + 8));
    CHECK(walk.frames() == Frames{0x1001});
    CHECK(walk.end() == TM_STACK_BROKEN);
  }
}

TEST_CASE("walk: a thread that moves to another stack is followed there") {
  Walk walk;
  walk.put_rule(0x1001, cfa_rule(TM_RULE_SP, 32));
  walk.put_rule(0x2001, kBottomRule);
  CHECK(walk.frames() == Frames{0x1001});
  constexpr uint64_t kCoroutine = 0x600000;
  walk.kernel.add_memory(kCoroutine, kCoroutine + 0x1000);
  walk.main.sp = kCoroutine + 0x800;
  walk.kernel.write(kCoroutine + 0x818, 0x2001);
  walk.main.malloc(1, 0xb000);
  CHECK(walk.frames_of(0xb000) == Frames{0x1001, 0x2001});
}

TEST_CASE("walk: where a rule is not known yet, the stack is handed over as it lies in memory") {
  Walk walk;
  walk.put_rule(0x1001, cfa_rule(TM_RULE_SP, 32));
  walk.word(24, 0x2001);
  walk.word(40, 0x3001);
  raw_stacks_left = 2;
  walk.main.malloc(1, 0xa000);
  REQUIRE(walk.kernel.raw.size() == 1);
  tm_raw_stack raw;
  REQUIRE(walk.kernel.raw[0]->size() == sizeof(raw));
  std::memcpy(&raw, walk.kernel.raw[0]->data(), sizeof(raw));
  CHECK(raw.id == walk.block(0xa000).site.stack_id);
  CHECK(raw.pc == 0x1001);
  CHECK(raw.sp == walk.base);
  CHECK(raw.owner == 1);
  CHECK(raw.size_bytes >= 128);
  uint64_t word = 0;
  std::memcpy(&word, raw.bytes + 40, sizeof(word));
  CHECK(word == 0x3001);
  CHECK(walk.kernel.table("stacks").size() == 0);
  CHECK(raw_stacks_left == 1);

  // As often as agreed; known ones are walked here.
  walk.kernel.now_ns = 2000;
  walk.main.malloc(1, 0xb000);
  walk.main.malloc(1, 0xc000);
  CHECK(walk.kernel.raw.size() == 2);
  CHECK(walk.block(0xb000).site.stack_id != raw.id);
  CHECK(walk.frames_of(0xc000) == Frames{0x1001, 0x2001});
  raw_stacks_left = 2;
  walk.put_rule(0x2001, kBottomRule);
  walk.main.malloc(1, 0xd000);
  CHECK(walk.kernel.raw.size() == 2);
  CHECK(walk.frames_of(0xd000) == Frames{0x1001, 0x2001});
  CHECK(walk.counted_only({}));
}

TEST_CASE("walk: of a stack that is known to be short no more is handed over") {
  Walk walk;
  raw_stacks_left = 16;
  const auto handed_over = [&](Thread& thread, uint64_t above) {
    walk.kernel.records.set_stack_start(kMm, thread.sp + above);
    ++walk.kernel.now_ns;
    thread.malloc(1, 0xa000 + walk.kernel.raw.size() * 0x1000);
    return walk.kernel.raw.back()->size();
  };
  CHECK(handed_over(walk.main, 64) == TM_RAW_STACK_HEAD + TM_RAW_STACK_SMALL);
  CHECK(handed_over(walk.main, TM_RAW_STACK_SMALL) == TM_RAW_STACK_HEAD + TM_RAW_STACK_SMALL);
  CHECK(handed_over(walk.main, TM_RAW_STACK_SMALL + 8) == TM_RAW_STACK_HEAD + TM_RAW_STACK_MEDIUM);
  CHECK(handed_over(walk.main, TM_RAW_STACK_LARGE) == TM_RAW_STACK_HEAD + TM_RAW_STACK_LARGE);
  CHECK(handed_over(walk.main, TM_RAW_STACK_LARGE + 8) == sizeof(tm_raw_stack));
  // On a stack above the main thread's, and in a thread of whose stack nothing is known.
  CHECK(handed_over(walk.main, static_cast<uint64_t>(-64)) == sizeof(tm_raw_stack));
  CHECK(handed_over(walk.other, 64) == sizeof(tm_raw_stack));
}

TEST_CASE("walk: up to the end of the stack, where no window of words fits any more") {
  Walk walk;
  walk.main.sp += 0x4000 - 64;
  walk.base = walk.main.sp;
  walk.put_rule(0x1001, saving_rule(TM_RULE_SP, 32, -32));
  walk.put_rule(0x2001, cfa_rule(TM_RULE_SP, 16));
  walk.put_rule(0x3001, saving_rule(TM_RULE_SP, 16, -16));
  walk.put_rule(0x4001, kBottomRule);
  walk.word(24, 0x2001);
  walk.word(40, 0x3001);
  walk.word(56, 0x4001);
  CHECK(walk.frames() == Frames{0x1001, 0x2001, 0x3001, 0x4001});
  CHECK(walk.end() == TM_STACK_BOTTOM);
}

TEST_CASE("walk: frames larger than the window, and the frame pointer saved far below") {
  Walk walk;
  walk.put_rule(0x1001, saving_rule(TM_RULE_SP, 2048, -2040));
  walk.put_rule(0x2001, saving_rule(TM_RULE_FP, 528, -1000));
  walk.put_rule(0x3001, saving_rule(TM_RULE_FP, 16, -16));
  walk.put_rule(0x4001, kBottomRule);
  walk.word(8, walk.base + 4096);
  walk.word(2040, 0x2001);
  walk.word(4096 + 528 - 1000, walk.base + 8000);
  walk.word(4096 + 520, 0x3001);
  walk.word(8008, 0x4001);
  CHECK(walk.frames() == Frames{0x1001, 0x2001, 0x3001, 0x4001});
}

TEST_CASE("walk: a saved frame pointer at an odd place is read as it lies there") {
  Walk walk;
  walk.put_rule(0x1001, saving_rule(TM_RULE_SP, 48, -44));
  walk.put_rule(0x2001, saving_rule(TM_RULE_FP, 16, -16));
  walk.put_rule(0x3001, kBottomRule);
  const uint64_t fp = walk.base + 96;
  walk.word(0, fp << 32);
  walk.word(8, fp >> 32);
  walk.word(40, 0x2001);
  walk.word(104, 0x3001);
  CHECK(walk.frames() == Frames{0x1001, 0x2001, 0x3001});
}

TEST_CASE("walk: 127 frames are kept, innermost first") {
  Walk walk;
  walk.put_rule(0x1001, cfa_rule(TM_RULE_SP, 8));
  Frames expected{0x1001};
  uint64_t total = 0;
  tm_stack_end end = TM_STACK_DEPTH_LIMIT;
  SUBCASE("126 callers") {
    total = 127;
    end = TM_STACK_BOTTOM;
  }
  SUBCASE("one more") {
    total = 128;
  }
  SUBCASE("many more") {
    total = 200;
  }
  for (uint64_t i = 1; i < total; ++i) {
    const uint64_t pc = 0x100000 + i;
    walk.word(8 * (i - 1), pc);
    walk.put_rule(pc, cfa_rule(TM_RULE_SP, 8));
    if (expected.size() < TM_STACK_DEPTH) expected.push_back(pc);
  }
  CHECK(walk.frames() == expected);
  CHECK(walk.end() == end);
}

TEST_CASE("walk: stacks that differ have other ids, equal ones the same") {
  Walk walk;
  walk.put_rule(0x1001, cfa_rule(TM_RULE_SP, 8));
  walk.put_rule(0x2001, kBottomRule);
  walk.put_rule(0x3001, kBottomRule);
  walk.word(0, 0x2001);
  walk.main.malloc(1, 0xa000);
  walk.main.malloc(1, 0xb000);
  walk.word(0, 0x3001);
  walk.main.malloc(1, 0xc000);
  walk.put_rule(0x3001, kind_only(TM_RULE_NONE));
  walk.main.malloc(1, 0xd000);
  const auto id = [&](uint64_t address) { return walk.block(address).site.stack_id; };
  CHECK(id(0xa000) == id(0xb000));
  CHECK(id(0xa000) != id(0xc000));
  CHECK(id(0xc000) != id(0xd000));  // the same frames, but cut
  CHECK(walk.kernel.table("stacks").size() == 3);
}

TEST_CASE("walk: a return address that cannot be read is a frame of 0, and still a call site") {
  Walk walk;
  const tm_cookie cookie{.probe = 0,
                         .allocator = 0,
                         .stack_words = 0,
                         .flags = TM_COOKIE_VALID,
                         .argument_registers = 0};
  const auto raw = std::bit_cast<uint64_t>(cookie);
  walk.kernel.run(heap_malloc, walk.main.task, {.sp = 0x10, .arguments = {5, 0, 0}}, raw);
  walk.kernel.run(heap_return, walk.main.task, {.sp = 0x18, .result = 0xa000}, 0);
  CHECK(walk.live() == Totals{5, 1});
  CHECK(walk.frames_of(0xa000) == Frames{0});
  CHECK(walk.adds_up());
}

TEST_CASE("walk: a realigned stack, whose CFA and frame pointer lie in memory") {
  Walk walk;
  walk.main.fp = walk.base + 64;
  tm_rule realigned = cfa_rule(TM_RULE_DEREF_FP, -8);
  realigned.saved_fp = TM_FP_AT_FP;
  SUBCASE("at the word that is read") {
    walk.word(56, walk.base + 512);
  }
  SUBCASE("and some more") {
    walk.word(56, walk.base + 496);
    realigned.cfa_added = 16;
  }
  walk.put_rule(0x1001, realigned);
  walk.word(64, walk.base + 1024);  // the caller's frame pointer
  walk.word(504, 0x2001);
  walk.put_rule(0x2001, saving_rule(TM_RULE_FP, 16, -16));
  walk.word(1032, 0x3001);
  walk.put_rule(0x3001, kBottomRule);
  CHECK(walk.frames() == Frames{0x1001, 0x2001, 0x3001});
  CHECK(walk.end() == TM_STACK_BOTTOM);
}

TEST_CASE("walk: a CFA in memory that is not there cuts the stack") {
  Walk walk;
  walk.put_rule(0x1001, cfa_rule(TM_RULE_DEREF_SP, 0x100000));
  CHECK(walk.frames() == Frames{0x1001});
  CHECK(walk.end() == TM_STACK_BROKEN);
}

TEST_CASE("walk: out of a signal handler to what it interrupted, on another stack below") {
  Walk walk;
  walk.put_rule(0x1001, cfa_rule(TM_RULE_SP, 16));
  walk.word(8, 0x2001);
  walk.put_rule(0x2001, kind_only(TM_RULE_SIGNAL));
  constexpr uint64_t kInterrupted = 0x300000;
  walk.kernel.add_memory(kInterrupted, kInterrupted + 0x1000);
  walk.word(16 + TM_SIGNAL_PC, 0x5000);
  walk.word(16 + TM_SIGNAL_SP, kInterrupted);
  walk.word(16 + TM_SIGNAL_FP, kInterrupted + 0x100);
  walk.put_rule(0x5001, saving_rule(TM_RULE_FP, 16, -16));
  walk.kernel.write(kInterrupted + 0x108, 0x6001);
  walk.put_rule(0x6001, kBottomRule);
  CHECK(walk.frames() == Frames{0x1001, 0x2001, 0x5001, 0x6001});
  CHECK(walk.end() == TM_STACK_BOTTOM);
}

TEST_CASE("walk: a lost frame pointer does not serve") {
  Walk walk;
  walk.main.fp = walk.base + 64;
  tm_rule losing = cfa_rule(TM_RULE_SP, 32);
  losing.saved_fp = TM_FP_LOST;
  walk.put_rule(0x1001, losing);
  walk.word(24, 0x2001);
  walk.put_rule(0x2001, saving_rule(TM_RULE_FP, 16, -16));
  walk.word(72, 0x3001);
  CHECK(walk.frames() == Frames{0x1001, 0x2001});
  CHECK(walk.end() == TM_STACK_BROKEN);
}
