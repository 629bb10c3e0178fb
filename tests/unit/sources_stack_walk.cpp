// SPDX-License-Identifier: Apache-2.0
//
// The walk over a copied stack: the same steps as in bpf/lib/stack.bpf.h.
#include "sources/stack_walk.h"

#include <doctest/doctest.h>

#include <cstring>
#include <map>
#include <optional>
#include <vector>

using namespace tidemark;
using model::StackEnd;

namespace {

constexpr uint64_t kStart = 0x7000;
constexpr uint64_t kSp = 0x7100;

// A stack of 4 KiB from kStart on, and the rules of its code.
struct Sample {
  std::vector<std::byte> bytes = std::vector<std::byte>(4096);
  std::map<uint64_t, tm_rule> rules;
  uint64_t fp = 0;

  void put(uint64_t address, uint64_t word) {
    std::memcpy(bytes.data() + (address - kStart), &word, sizeof(word));
  }
  void rule(uint64_t pc, tm_rule_kind kind, int32_t cfa_offset = 0) {
    tm_rule made{};
    made.kind = static_cast<uint8_t>(kind);
    made.cfa_offset = cfa_offset;
    rules[pc] = made;
  }
  void rule_saving(uint64_t pc, tm_rule_kind kind, int32_t cfa_offset, int32_t fp_offset) {
    rule(pc, kind, cfa_offset);
    rules[pc].saved_fp = TM_FP_AT_CFA;
    rules[pc].fp_offset = fp_offset;
  }
  [[nodiscard]] model::Stack walk() const {
    const sources::StackCopy copy{
        .owner = {3}, .pc = {0x10}, .sp = kSp, .fp = fp, .start = kStart, .bytes = bytes};
    return sources::walk(copy,
                         [this](model::Generation owner, model::Address address) {
                           CHECK(owner == model::Generation{3});
                           const auto found = rules.find(address.value);
                           return found == rules.end() ? std::nullopt
                                                       : std::optional(found->second);
                         })
        .stack;
  }
};

std::vector<uint64_t> frames(const model::Stack& stack) {
  std::vector<uint64_t> addresses;
  for (const model::Address frame : stack.frames) addresses.push_back(frame.value);
  return addresses;
}

}  // namespace

TEST_CASE(
    "stack walk: from a leaf by the stack pointer, then by saved frame pointers, to the bottom") {
  Sample sample;
  sample.fp = 0x7200;
  sample.rule(0x10, TM_RULE_SP, 8);  // nothing pushed but the return address
  sample.put(kSp, 0x20);
  sample.rule_saving(0x20, TM_RULE_FP, 16, -16);
  sample.put(0x7200, 0x7300);  // its caller's frame pointer
  sample.put(0x7208, 0x30);
  sample.rule_saving(0x30, TM_RULE_SP, 0x40, -24);
  sample.put(0x7210 + 0x40 - 24, 0x7400);
  sample.put(0x7210 + 0x40 - 8, 0x40);
  sample.rule(0x40, TM_RULE_CHAIN);
  sample.put(0x7400, 0);
  sample.put(0x7408, 0x50);
  sample.rule(0x50, TM_RULE_BOTTOM);
  const model::Stack stack = sample.walk();
  CHECK(frames(stack) == std::vector<uint64_t>{0x10, 0x20, 0x30, 0x40, 0x50});
  CHECK(stack.end == StackEnd::kBottom);
}

TEST_CASE("stack walk: a return address of 0 is the bottom") {
  Sample sample;
  sample.rule(0x10, TM_RULE_SP, 8);
  const model::Stack stack = sample.walk();
  CHECK(frames(stack) == std::vector<uint64_t>{0x10});
  CHECK(stack.end == StackEnd::kBottom);
}

TEST_CASE("stack walk: what cannot be followed is broken") {
  Sample sample;
  SUBCASE("no rule") {}
  SUBCASE("no frame pointer where it has to serve") {
    sample.rule(0x10, TM_RULE_CHAIN);
  }
  SUBCASE("frames that do not rise") {
    sample.rule(0x10, TM_RULE_SP, 0);
  }
  SUBCASE("an odd frame") {
    sample.rule(0x10, TM_RULE_SP, 12);
  }
  SUBCASE("behind the sample") {
    sample.rule(0x10, TM_RULE_SP, 4096);
  }
  SUBCASE("a frame pointer below the sample") {
    sample.rule_saving(0x10, TM_RULE_SP, 16, -0x2000);
    sample.put(kSp + 8, 0x20);
  }
  SUBCASE("a frame that wraps around") {
    sample.fp = UINT64_MAX - 7;
    sample.rule(0x10, TM_RULE_FP, 0);
  }
  const model::Stack stack = sample.walk();
  CHECK(frames(stack) == std::vector<uint64_t>{0x10});
  CHECK(stack.end == StackEnd::kBroken);
}

TEST_CASE("stack walk: what goes on outside of the copy is guessed, what cannot go on is not") {
  Sample behind;
  behind.rule(0x10, TM_RULE_SP, 4096);
  CHECK(behind.walk().guessed);
  Sample other_stack;
  other_stack.rule(0x10, TM_RULE_SIGNAL);
  other_stack.put(kSp + TM_SIGNAL_PC, 0x1f);
  other_stack.put(kSp + TM_SIGNAL_SP, 0x900000);
  other_stack.rule(0x20, TM_RULE_SP, 8);
  const model::Stack stack = other_stack.walk();
  CHECK(frames(stack) == std::vector<uint64_t>{0x10, 0x20});
  CHECK(stack.end == StackEnd::kBroken);
  CHECK(stack.guessed);
  Sample broken;
  broken.rule(0x10, TM_RULE_NONE);
  CHECK_FALSE(broken.walk().guessed);
}

TEST_CASE("stack walk: an empty copy has its innermost frame") {
  Sample sample;
  sample.bytes.clear();
  sample.rule(0x10, TM_RULE_SP, 8);
  const model::Stack stack = sample.walk();
  CHECK(frames(stack) == std::vector<uint64_t>{0x10});
  CHECK(stack.end == StackEnd::kBroken);
}

TEST_CASE("stack walk: as many frames as BPF keeps") {
  Sample sample;
  for (uint64_t i = 0; i < 200; ++i) {
    sample.rule(0x10 + i, TM_RULE_SP, 8);
    sample.put(kSp + 8 * i, 0x11 + i);
  }
  const model::Stack stack = sample.walk();
  CHECK(stack.frames.size() == TM_STACK_DEPTH);
  CHECK(stack.end == StackEnd::kDepthLimit);
}

TEST_CASE("stack walk: ids tell stacks apart by frames and end") {
  model::Stack a;
  a.frames = {{1}, {2}};
  model::Stack b = a;
  CHECK(sources::id_of(a) == sources::id_of(b));
  b.end = StackEnd::kBottom;
  CHECK(sources::id_of(a) != sources::id_of(b));
  b = a;
  b.frames = {{2}, {1}};
  CHECK(sources::id_of(a) != sources::id_of(b));
  CHECK(sources::id_of({}).value != 0);
}
