// SPDX-License-Identifier: Apache-2.0
#include "sources/raw_stacks.h"

#include <algorithm>
#include <cstring>
#include <span>

namespace tidemark::sources {
namespace {

constexpr std::size_t kMostWaiting = 512;  // 8 MiB

}  // namespace

StackCopy copy_of(const tm_raw_stack& raw) {
  return {.owner = {raw.owner},
          .pc = {raw.pc},
          .sp = raw.sp,
          .fp = raw.fp,
          .start = raw.sp,
          .bytes = std::as_bytes(std::span(raw.bytes)).first(raw.size_bytes)};
}

RawStacks::Heard RawStacks::hear(const void* record, std::size_t size_bytes,
                                 const RuleOf& rule_of) {
  if (size_bytes < TM_RAW_STACK_HEAD) return Heard::kWalked;
  tm_raw_stack raw;
  size_bytes = std::min(size_bytes, sizeof(raw));
  std::memcpy(&raw, record, size_bytes);
  raw.size_bytes = std::min(raw.size_bytes, static_cast<uint32_t>(size_bytes - TM_RAW_STACK_HEAD));
  WalkedStack walked = walk(copy_of(raw), rule_of);
  const bool waits = !walked.complete && waiting_.size() < kMostWaiting;
  if (waits) waiting_.push_back(raw);
  // Kept as far as it goes, until it is walked again.
  keep(raw.id, std::move(walked.stack));
  return waits ? Heard::kMapsWanted : Heard::kWalked;
}

void RawStacks::learn(model::Generation owner, const RuleOf& rule_of) {
  for (const tm_raw_stack& raw : waiting_) {
    if (raw.owner == owner.value) keep(raw.id, walk(copy_of(raw), rule_of).stack);
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
