// SPDX-License-Identifier: Apache-2.0
#include "sources/stack_walk.h"

#include <cstring>

#include "sources/heap_records.h"
#include "support/mix.h"

namespace tidemark::sources {
namespace {

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

class Words {
 public:
  explicit Words(const StackCopy& copy) : copy_(copy) {}

  std::optional<uint64_t> at(uint64_t address) {
    uint64_t word = 0;
    const uint64_t offset = address - copy_.start;
    if (address < copy_.start || copy_.bytes.size() < sizeof(word) ||
        offset > copy_.bytes.size() - sizeof(word)) {
      went_outside_ = true;
      return std::nullopt;
    }
    std::memcpy(&word, copy_.bytes.data() + offset, sizeof(word));
    return word;
  }
  // A word was asked for that the copy does not have.
  [[nodiscard]] bool went_outside() const { return went_outside_; }

 private:
  const StackCopy& copy_;
  bool went_outside_ = false;
};

// From a signal handler to what it interrupted; the address as if it were behind a call.
uint32_t leave_signal_frame(Words& words, Position& at) {
  const auto pc = words.at(at.sp + TM_SIGNAL_PC);
  const auto sp = words.at(at.sp + TM_SIGNAL_SP);
  const auto fp = words.at(at.sp + TM_SIGNAL_FP);
  if (!pc || !sp || !fp) return TM_STACK_BROKEN;
  at = {*pc + 1, *sp, *fp};
  return TM_STACK_DEPTH_LIMIT;
}

uint64_t plus(uint64_t address, int32_t offset) {
  return address + static_cast<uint64_t>(static_cast<int64_t>(offset));
}

std::optional<uint64_t> cfa_of(Words& words, const tm_rule& rule, const Position& at) {
  switch (rule.kind) {
    case TM_RULE_SP:
      return plus(at.sp, rule.cfa_offset);
    case TM_RULE_FP:
      return plus(at.fp, rule.cfa_offset);
    case TM_RULE_DEREF_SP:
    case TM_RULE_DEREF_FP: {
      const uint64_t base = rule.kind == TM_RULE_DEREF_SP ? at.sp : at.fp;
      const auto word = words.at(plus(base, rule.cfa_offset));
      if (!word) return std::nullopt;
      return *word + rule.cfa_added;
    }
    default:
      if (at.fp == 0) return std::nullopt;
      return at.fp + 16;
  }
}

// None: it can't be read.
std::optional<uint64_t> caller_fp(Words& words, const tm_rule& rule, const Position& at,
                                  uint64_t cfa) {
  const bool along_chain = rule.kind == TM_RULE_PENDING || rule.kind == TM_RULE_CHAIN;
  if (along_chain) return words.at(cfa - 16);
  switch (rule.saved_fp) {
    case TM_FP_AT_CFA:
      return words.at(plus(cfa, rule.fp_offset));
    case TM_FP_AT_FP:
      return words.at(plus(at.fp, rule.fp_offset));
    case TM_FP_LOST:
      return 0;
    default:
      return at.fp;
  }
}

// One step outwards; TM_STACK_DEPTH_LIMIT: there is a caller.
uint32_t step(Words& words, const tm_rule& rule, Position& at) {
  if (rule.kind == TM_RULE_BOTTOM) return TM_STACK_BOTTOM;
  if (rule.kind == TM_RULE_NONE) return TM_STACK_BROKEN;
  if (rule.kind == TM_RULE_SIGNAL) return leave_signal_frame(words, at);
  const auto cfa = cfa_of(words, rule, at);
  if (!cfa || (*cfa & 7) != 0 || *cfa <= at.sp || *cfa - at.sp > TM_FRAME_SPAN_LIMIT) {
    return TM_STACK_BROKEN;
  }
  const auto return_address = words.at(*cfa - 8);
  const auto fp = caller_fp(words, rule, at, *cfa);
  if (!return_address || !fp) return TM_STACK_BROKEN;
  if (*return_address == 0) return TM_STACK_BOTTOM;
  at = {*return_address, *cfa, *fp};
  return TM_STACK_DEPTH_LIMIT;
}

}  // namespace

WalkedStack walk(const StackCopy& copy, const RuleOf& rule_of) {
  WalkedStack walked;
  Words words(copy);
  Position at{copy.pc.value, copy.sp, copy.fp};
  uint32_t end = TM_STACK_DEPTH_LIMIT;
  walked.stack.frames.push_back(model::Address{at.pc});
  // As in BPF, the step behind the last frame that is kept is taken still: was it the last?
  while (true) {
    const auto rule = rule_of(copy.owner, model::Address{at.pc});
    walked.complete = rule.has_value();
    end = rule ? step(words, *rule, at) : uint32_t{TM_STACK_BROKEN};
    if (end != TM_STACK_DEPTH_LIMIT || walked.stack.frames.size() == TM_STACK_DEPTH) break;
    walked.stack.frames.push_back(model::Address{at.pc});
  }
  walked.stack.end = to_end(end);
  // It may go on behind the copy, or on another stack: one that BPF walked can tell.
  walked.stack.guessed = walked.complete && end == TM_STACK_BROKEN && words.went_outside();
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
