// SPDX-License-Identifier: Apache-2.0
//
// RawStacks: the stacks that BPF handed over as they lay in memory, because it did not know the
// rule of some frame yet. Walked here by the same rules, so that the first allocations of a call
// site have whole stacks as well. Single-threaded.
#pragma once

#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

#include "bpf/abi/heap.h"
#include "model/snapshot.h"
#include "sources/stack_walk.h"

namespace tidemark::sources {

// What was handed over, as long as the record lives.
[[nodiscard]] StackCopy copy_of(const tm_raw_stack& raw);

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
