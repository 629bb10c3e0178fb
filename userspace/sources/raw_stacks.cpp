// SPDX-License-Identifier: Apache-2.0
#include "sources/raw_stacks.h"

#include <algorithm>
#include <cstring>

#include "sources/heap_records.h"

namespace tidemark::sources {
namespace {

constexpr std::size_t kMostWaiting = 512;  // 8 MiB

uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

uint64_t id_of(const std::vector<model::Address>& frames, uint32_t end) {
  uint64_t hash = 1;
  for (const model::Address frame : frames) hash = mix(hash, frame.value);
  hash = mix(hash, end);
  return hash != 0 ? hash : 1;
}

struct Position {
  uint64_t pc = 0;
  uint64_t sp = 0;
  uint64_t fp = 0;
};

std::optional<uint64_t> word_at(const tm_raw_stack& raw, uint64_t address) {
  uint64_t word = 0;
  const uint64_t offset = address - raw.sp;
  if (address < raw.sp || raw.size_bytes < sizeof(word) || offset > raw.size_bytes - sizeof(word)) {
    return std::nullopt;
  }
  std::memcpy(&word, raw.bytes + offset, sizeof(word));
  return word;
}

// One step outwards; TM_STACK_DEPTH_LIMIT: there is a caller.
uint32_t step(const tm_raw_stack& raw, const tm_rule& rule, Position& at) {
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
  const auto return_address = word_at(raw, cfa - 8);
  if (!return_address) return TM_STACK_BROKEN;
  if (saves_fp) {
    const auto saved = word_at(raw, cfa + static_cast<uint64_t>(fp_offset));
    if (!saved) return TM_STACK_BROKEN;
    at.fp = *saved;
  }
  if (*return_address == 0) return TM_STACK_BOTTOM;
  at.pc = *return_address;
  at.sp = cfa;
  return TM_STACK_DEPTH_LIMIT;
}

}  // namespace

WalkedStack walk(const tm_raw_stack& raw, const RuleOf& rule_of) {
  WalkedStack walked;
  Position at{raw.pc, raw.sp, raw.fp};
  uint32_t end = TM_STACK_DEPTH_LIMIT;
  walked.stack.frames.push_back(model::Address{at.pc});
  while (true) {
    const auto rule = rule_of(model::Generation{raw.owner}, model::Address{at.pc});
    walked.complete = rule.has_value();
    end = rule ? step(raw, *rule, at) : uint32_t{TM_STACK_BROKEN};
    if (end != TM_STACK_DEPTH_LIMIT || walked.stack.frames.size() == TM_STACK_DEPTH) break;
    walked.stack.frames.push_back(model::Address{at.pc});
  }
  walked.stack.id = model::StackId{id_of(walked.stack.frames, end)};
  walked.stack.end = to_end(end);
  return walked;
}

RawStacks::Heard RawStacks::hear(const void* record, std::size_t size_bytes,
                                 const RuleOf& rule_of) {
  if (size_bytes < sizeof(tm_raw_stack)) return Heard::kWalked;
  tm_raw_stack raw;
  std::memcpy(&raw, record, sizeof(raw));
  raw.size_bytes = std::min<uint32_t>(raw.size_bytes, TM_RAW_STACK_BYTES);
  WalkedStack walked = walk(raw, rule_of);
  const bool waits = !walked.complete && waiting_.size() < kMostWaiting;
  if (waits) waiting_.push_back(raw);
  // Kept as far as it goes, until it is walked again.
  keep(raw.id, std::move(walked.stack));
  return waits ? Heard::kMapsWanted : Heard::kWalked;
}

void RawStacks::learn(model::Generation owner, const RuleOf& rule_of) {
  for (const tm_raw_stack& raw : waiting_) {
    if (raw.owner == owner.value) keep(raw.id, walk(raw, rule_of).stack);
  }
  std::erase_if(waiting_, [&](const tm_raw_stack& raw) { return raw.owner == owner.value; });
}

model::StackId RawStacks::resolve(model::StackId id) const {
  const auto found = resolved_.find(id);
  return found == resolved_.end() ? id : found->second;
}

void RawStacks::keep(uint64_t raw_id, model::Stack stack) {
  resolved_.insert_or_assign(model::StackId{raw_id}, stack.id);
  stacks_.try_emplace(stack.id, std::move(stack));
}

}  // namespace tidemark::sources
