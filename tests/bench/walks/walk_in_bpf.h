// SPDX-License-Identifier: Apache-2.0
//
// WalkInBpf: executor B, the walk of bpf/lib/stack.bpf.h, over copied stacks. Rules are asked for
// and answered as in a trace; a walk that had to guess is done again with the answers.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "model/ids.h"
#include "model/snapshot.h"
#include "sources/stack_walk.h"
#include "walks/stopped_thread.h"

namespace tidemark::bench {

// The step that stands for the instruction at `pc` in place of the one behind a call.
[[nodiscard]] inline uint64_t as_return_address(uint64_t pc) {
  return pc + 1;
}

struct WalkedInBpf {
  std::vector<uint64_t> frames;  // innermost first, return addresses
  tm_stack_end end = TM_STACK_BROKEN;
  uint64_t lookups = 0;  // in the map of rules, of the last walk
};

// One at a time in a process: the helpers of BPF have no argument to find it by.
class WalkInBpf {
 public:
  explicit WalkInBpf(sources::RuleOf rule_of) : rule_of_(std::move(rule_of)) {}

  [[nodiscard]] WalkedInBpf walk(const StoppedThread& thread, model::Generation owner);
  // The rules of this owner's return addresses hold no more.
  void forget() { rules_.clear(); }

  // What the helpers do.
  tm_rule* rule(const tm_rule_key& key);
  long insert(const tm_rule_key& key, const tm_rule& rule);
  void ask(const tm_rule_key& key) { asked_.push_back(key); }
  bool read(void* into, std::size_t size, uint64_t address) const;

 private:
  sources::RuleOf rule_of_;
  std::map<std::pair<uint32_t, uint64_t>, tm_rule> rules_;
  std::vector<tm_rule_key> asked_;
  const StoppedThread* thread_ = nullptr;
  uint64_t lookups_ = 0;
};

}  // namespace tidemark::bench
