// SPDX-License-Identifier: Apache-2.0
//
// The walk of bpf/lib/stack.bpf.h over a copy of the inner end of a stack: the same steps by the
// same rules, for stacks that BPF handed over because it did not know the rule of some frame yet.
// Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "bpf/abi/heap.h"
#include "model/snapshot.h"

namespace tidemark::sources {

struct StackCopy {
  model::Generation owner;
  model::Address pc;
  uint64_t sp = 0;
  uint64_t fp = 0;
  uint64_t start = 0;  // address of the first byte; at or below sp
  std::span<const std::byte> bytes;
};

// The rule of a return address; none where it is not known whether there is code.
using RuleOf = std::function<std::optional<tm_rule>(model::Generation, model::Address)>;

struct WalkedStack {
  model::Stack stack;
  bool complete = true;  // false: it ended where no rule was known yet
};

// frames[0] is the pc. A stack that goes on behind the copy, or left a signal handler's own stack,
// is broken there, and `guessed`: a whole one that begins alike may stand for it.
[[nodiscard]] WalkedStack walk(const StackCopy& copy, const RuleOf& rule_of);

// The id that BPF gives to these frames with this end. Never 0.
[[nodiscard]] model::StackId id_of(const model::Stack& stack);

}  // namespace tidemark::sources
