// SPDX-License-Identifier: Apache-2.0
//
// Stacks that are walked here, out of a copy: the same steps as in BPF (tests/bpf_host/stack_walk).
#include "sources/raw_stacks.h"

#include <doctest/doctest.h>

#include <cstring>
#include <map>
#include <memory>

using namespace tidemark;
using model::Address;
using model::Generation;
using model::StackId;
using sources::RawStacks;
using Frames = std::vector<Address>;

namespace {

constexpr uint64_t kBase = 0x7000;

tm_rule make_rule(tm_rule_kind kind, int32_t cfa_offset = 0,
                  std::optional<int32_t> fp_offset = {}) {
  tm_rule rule{};
  rule.kind = static_cast<uint8_t>(kind);
  rule.cfa_offset = cfa_offset;
  rule.saved_fp = fp_offset ? TM_FP_AT_CFA : TM_FP_SAME;
  rule.fp_offset = fp_offset.value_or(0);
  return rule;
}

struct Copy {
  std::unique_ptr<tm_raw_stack> raw = std::make_unique<tm_raw_stack>();
  std::map<uint64_t, tm_rule> rules;

  explicit Copy(uint64_t id = 1) {
    raw->id = id;
    raw->owner = 3;
    raw->pc = 0x1001;
    raw->sp = kBase;
    raw->size_bytes = 256;
  }
  void word(uint64_t offset, uint64_t value) {
    std::memcpy(raw->bytes + offset, &value, sizeof(value));
  }
  [[nodiscard]] sources::RuleOf rule_of() const {
    return [this](Generation owner, Address address) -> std::optional<tm_rule> {
      CHECK(owner == Generation{3});
      const auto found = rules.find(address.value);
      if (found == rules.end()) return std::nullopt;
      return found->second;
    };
  }
  [[nodiscard]] sources::WalkedStack walked() const {
    return sources::walk(sources::copy_of(*raw), rule_of());
  }
};

}  // namespace

TEST_CASE("raw stack: by stack pointer, by frame pointer, to the bottom") {
  Copy copy;
  copy.rules[0x1001] = make_rule(TM_RULE_SP, 32, -24);
  copy.rules[0x2001] = make_rule(TM_RULE_FP, 16, -16);
  copy.rules[0x3001] = make_rule(TM_RULE_BOTTOM);
  copy.word(8, kBase + 64);
  copy.word(24, 0x2001);
  copy.word(72, 0x3001);
  const auto walked = copy.walked();
  CHECK(walked.complete);
  CHECK(walked.stack.end == model::StackEnd::kBottom);
  CHECK(walked.stack.frames == Frames{{0x1001}, {0x2001}, {0x3001}});
}

TEST_CASE("raw stack: what leads nowhere cuts it") {
  Copy copy;
  SUBCASE("below the stack pointer") {
    copy.rules[0x1001] = make_rule(TM_RULE_SP, 0);
  }
  SUBCASE("not aligned") {
    copy.rules[0x1001] = make_rule(TM_RULE_SP, 12);
  }
  SUBCASE("beyond the copy") {
    copy.rules[0x1001] = make_rule(TM_RULE_SP, 512);
  }
  SUBCASE("at the end of the copy") {
    copy.rules[0x1001] = make_rule(TM_RULE_SP, 264);
  }
  SUBCASE("a frame pointer that was saved elsewhere") {
    copy.rules[0x1001] = make_rule(TM_RULE_SP, 32, -64);
    copy.word(24, 0x2001);
  }
  SUBCASE("no frame pointer where one has to serve") {
    copy.rules[0x1001] = make_rule(TM_RULE_CHAIN);
  }
  SUBCASE("a rule that says so") {
    copy.rules[0x1001] = make_rule(TM_RULE_NONE);
  }
  SUBCASE("an empty copy") {
    copy.raw->size_bytes = 0;
    copy.rules[0x1001] = make_rule(TM_RULE_SP, 8);
  }
  const auto walked = copy.walked();
  CHECK(walked.complete);
  CHECK(walked.stack.end == model::StackEnd::kBroken);
  CHECK(walked.stack.frames == Frames{{0x1001}});
}

TEST_CASE("raw stack: a return address of 0 is the bottom, 127 frames are the most") {
  Copy copy;
  copy.rules[0x1001] = make_rule(TM_RULE_SP, 8);
  CHECK(copy.walked().stack.end == model::StackEnd::kBottom);
  copy.raw->size_bytes = 8 * 200;
  for (uint64_t i = 0; i < 200; ++i) copy.word(8 * i, 0x1001);
  CHECK(copy.walked().stack.end == model::StackEnd::kDepthLimit);
  CHECK(copy.walked().stack.frames.size() == TM_STACK_DEPTH);
}

TEST_CASE("raw stacks: one that has to wait for the maps is walked then, the same frames are one") {
  Copy first(11), second(12);
  for (Copy* copy : {&first, &second}) {
    copy->rules[0x1001] = make_rule(TM_RULE_SP, 16);
    copy->word(8, 0x2001);
  }
  RawStacks stacks;
  CHECK(stacks.hear(first.raw.get(), sizeof(tm_raw_stack), first.rule_of()) ==
        RawStacks::Heard::kMapsWanted);
  second.rules[0x2001] = make_rule(TM_RULE_BOTTOM);
  CHECK(stacks.hear(second.raw.get(), sizeof(tm_raw_stack), second.rule_of()) ==
        RawStacks::Heard::kWalked);
  CHECK(stacks.resolve(StackId{11}) != stacks.resolve(StackId{12}));
  stacks.learn(Generation{4}, second.rule_of());
  CHECK(stacks.resolve(StackId{11}) != stacks.resolve(StackId{12}));
  stacks.learn(Generation{3}, second.rule_of());
  CHECK(stacks.resolve(StackId{11}) == stacks.resolve(StackId{12}));
  CHECK(stacks.stacks().at(stacks.resolve(StackId{11})).frames == Frames{{0x1001}, {0x2001}});
  CHECK(stacks.resolve(StackId{99}) == StackId{99});
}

TEST_CASE(
    "raw stacks: a record that is cut off is ignored, one that lies about its size is not read "
    "beyond") {
  Copy copy(5);
  copy.rules[0x1001] = make_rule(TM_RULE_SP, 1 << 20);
  copy.raw->size_bytes = UINT32_MAX;
  RawStacks stacks;
  CHECK(stacks.hear(copy.raw.get(), TM_RAW_STACK_HEAD - 1, copy.rule_of()) ==
        RawStacks::Heard::kWalked);
  CHECK(stacks.stacks().empty());
  CHECK(stacks.hear(copy.raw.get(), sizeof(tm_raw_stack), copy.rule_of()) ==
        RawStacks::Heard::kWalked);
  CHECK(stacks.stacks().size() == 1);
}

TEST_CASE("raw stacks: a short record is walked as far as its room goes") {
  Copy copy(5);
  copy.rules[0x1001] = make_rule(TM_RULE_SP, 32);
  copy.rules[0x2001] = make_rule(TM_RULE_SP, TM_RAW_STACK_SMALL);
  copy.rules[0x3001] = make_rule(TM_RULE_BOTTOM);
  copy.word(24, 0x2001);
  copy.word(24 + TM_RAW_STACK_SMALL, 0x3001);  // behind the record's end
  copy.raw->size_bytes = TM_RAW_STACK_BYTES;
  RawStacks stacks;
  CHECK(stacks.hear(copy.raw.get(), TM_RAW_STACK_HEAD + TM_RAW_STACK_SMALL, copy.rule_of()) ==
        RawStacks::Heard::kWalked);
  REQUIRE(stacks.stacks().size() == 1);
  CHECK(stacks.stacks().begin()->second.frames == Frames{{0x1001}, {0x2001}});
  CHECK(stacks.hear(copy.raw.get(), sizeof(tm_raw_stack), copy.rule_of()) ==
        RawStacks::Heard::kWalked);
  CHECK(stacks.stacks().at(stacks.resolve(StackId{5})).frames ==
        Frames{{0x1001}, {0x2001}, {0x3001}});
}
