// SPDX-License-Identifier: Apache-2.0
#include "sources/stack_walk.h"

#include <cstring>

#include "sources/heap_records.h"

namespace tidemark::sources {
namespace {

uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

uint32_t record_of(const model::Stack& stack) {
  switch (stack.end) {
    case model::StackEnd::kBottom:
      return TM_STACK_BOTTOM;
    case model::StackEnd::kDepthLimit:
      return TM_STACK_DEPTH_LIMIT;
    case model::StackEnd::kBroken:
      break;
  }
  return stack.guessed ? TM_STACK_GUESSED : TM_STACK_BROKEN;
}

struct Position {
  uint64_t pc = 0;
  uint64_t sp = 0;
  uint64_t fp = 0;
};

std::optional<uint64_t> word_at(const StackCopy& copy, uint64_t address) {
  uint64_t word = 0;
  const uint64_t offset = address - copy.start;
  if (address < copy.start || copy.bytes.size() < sizeof(word) ||
      offset > copy.bytes.size() - sizeof(word)) {
    return std::nullopt;
  }
  std::memcpy(&word, copy.bytes.data() + offset, sizeof(word));
  return word;
}

// One step outwards; TM_STACK_DEPTH_LIMIT: there is a caller.
uint32_t step(const StackCopy& copy, const tm_rule& rule, Position& at) {
  if (rule.kind == TM_RULE_BOTTOM) return TM_STACK_BOTTOM;
  if (rule.kind == TM_RULE_NONE) return TM_STACK_BROKEN;
  const bool by_rule = rule.kind == TM_RULE_SP || rule.kind == TM_RULE_FP;
  if (!by_rule && at.fp == 0) return TM_STACK_BROKEN;
  const uint64_t base = rule.kind == TM_RULE_SP ? at.sp : at.fp;
  const uint64_t cfa =
      by_rule ? base + static_cast<uint64_t>(static_cast<int64_t>(rule.cfa_offset)) : at.fp + 16;
  const int64_t fp_offset = by_rule ? rule.fp_offset : -16;
  const bool saves_fp = !by_rule || rule.saves_fp != 0;
  if ((cfa & 7) != 0 || cfa <= at.sp || cfa - at.sp > TM_FRAME_SPAN_LIMIT) return TM_STACK_BROKEN;
  const auto return_address = word_at(copy, cfa - 8);
  if (!return_address) return TM_STACK_BROKEN;
  if (saves_fp) {
    const auto saved = word_at(copy, cfa + static_cast<uint64_t>(fp_offset));
    if (!saved) return TM_STACK_BROKEN;
    at.fp = *saved;
  }
  if (*return_address == 0) return TM_STACK_BOTTOM;
  at.pc = *return_address;
  at.sp = cfa;
  return TM_STACK_DEPTH_LIMIT;
}

}  // namespace

WalkedStack walk(const StackCopy& copy, const RuleOf& rule_of) {
  WalkedStack walked;
  Position at{copy.pc.value, copy.sp, copy.fp};
  uint32_t end = TM_STACK_DEPTH_LIMIT;
  walked.stack.frames.push_back(model::Address{at.pc});
  // As in BPF, the step behind the last frame that is kept is taken still: was it the last?
  while (true) {
    const auto rule = rule_of(copy.owner, model::Address{at.pc});
    walked.complete = rule.has_value();
    end = rule ? step(copy, *rule, at) : uint32_t{TM_STACK_BROKEN};
    if (end != TM_STACK_DEPTH_LIMIT || walked.stack.frames.size() == TM_STACK_DEPTH) break;
    walked.stack.frames.push_back(model::Address{at.pc});
  }
  walked.stack.end = to_end(end);
  walked.stack.id = id_of(walked.stack);
  return walked;
}

model::StackId id_of(const model::Stack& stack) {
  uint64_t hash = 1;
  for (const model::Address frame : stack.frames) hash = mix(hash, frame.value);
  hash = mix(hash, record_of(stack));
  return model::StackId{hash != 0 ? hash : 1};
}

}  // namespace tidemark::sources
