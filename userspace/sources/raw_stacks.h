// SPDX-License-Identifier: Apache-2.0
//
// RawStacks: the stacks that BPF handed over as they lay in memory, because it did not know the
// rule of some frame yet. Walked here by the same rules, so that the first allocations of a call
// site have whole stacks as well. Single-threaded.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include "bpf/abi/heap.h"
#include "model/snapshot.h"

namespace tidemark::sources {

// The rule of a return address; none where it is not known whether there is code.
using RuleOf = std::function<std::optional<tm_rule>(model::Generation, model::Address)>;

struct WalkedStack {
  model::Stack stack;
  bool complete = true;  // false: it ended where no rule was known yet
};

// The walk of BPF (bpf/lib/stack.bpf.h), on a copy of the stack. The id is the one that BPF gives
// to the same frames.
[[nodiscard]] WalkedStack walk(const tm_raw_stack& raw, const RuleOf& rule_of);

class RawStacks {
 public:
  enum class Heard { kWalked, kMapsWanted };

  // A record of the ring buffer; those that are cut off are ignored.
  Heard hear(const void* record, std::size_t size_bytes, const RuleOf& rule_of);
  // The maps of this owner were read again: what had to wait is walked as far as it goes.
  void learn(model::Generation owner, const RuleOf& rule_of);

  // What the id that BPF gave stands for; itself where it is none of ours.
  [[nodiscard]] model::StackId resolve(model::StackId id) const;
  // Each once.
  [[nodiscard]] const std::unordered_map<model::StackId, model::Stack>& stacks() const {
    return stacks_;
  }

 private:
  void keep(uint64_t raw_id, model::Stack stack);

  std::deque<tm_raw_stack> waiting_;
  std::unordered_map<model::StackId, model::StackId> resolved_;
  std::unordered_map<model::StackId, model::Stack> stacks_;
};

}  // namespace tidemark::sources
