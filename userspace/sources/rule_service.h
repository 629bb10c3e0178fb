// SPDX-License-Identifier: Apache-2.0
//
// RuleService: answers the requests of the walk in BPF, by UnwindRules, into the map `rules`, and
// walks the stacks that could not wait for the answer. Rules go when other code comes to lie at
// their place. Holds the maps' handles, which must outlive it.
// Single-threaded.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>

#include "bpf/abi/heap.h"
#include "bpfrt/ring_buffer.h"
#include "model/process.h"
#include "sources/raw_stacks.h"
#include "sources/source.h"
#include "sources/unwind_rules.h"
#include "support/result.h"

namespace tidemark::sources {

class RuleService {
 public:
  [[nodiscard]] static Result<std::unique_ptr<RuleService>> open(
      const bpf_map* rules, const bpf_map* requests, const bpf_map* raw_stacks, uint32_t max_rules,
      std::shared_ptr<UnwindRules> unwind);
  RuleService(const RuleService&) = delete;
  RuleService& operator=(const RuleService&) = delete;

  [[nodiscard]] std::vector<int> event_fds() const {
    return {requests_->event_fd(), raw_ring_->event_fd()};
  }
  [[nodiscard]] Result<Served> serve();
  // As UnwindRules::learn(); requests that had to wait for it are answered.
  void learn(model::Generation owner, const model::ProcessImage& image);
  // The owner runs no more: its rules go when room is short.
  void forget(model::Generation owner);
  // The stacks that were walked here and not in BPF.
  [[nodiscard]] const RawStacks& raw_stacks() const { return raw_stacks_; }
  // How often other code came to lie at a place that had rules.
  [[nodiscard]] uint64_t replaced_code() const { return replaced_code_; }

 private:
  RuleService(const bpf_map* rules, uint32_t max_rules, std::shared_ptr<UnwindRules> unwind);
  [[nodiscard]] Status hear_all();
  void hear(const tm_rule_key& asked);
  void answer(const tm_rule_key& asked);
  void make_room();
  template <typename Condition>
  void drop_rules(Condition condition);

  const bpf_map* rules_;
  uint32_t max_rules_;
  std::shared_ptr<UnwindRules> unwind_;
  std::deque<tm_rule_key> unanswered_;  // for code that came since the maps were read; oldest first
  Served served_ = Served::kAll;
  uint64_t given_ = 0;  // rules in the map, roughly
  uint32_t answers_until_cleaning_ = 0;
  std::set<model::Generation> gone_;
  uint64_t replaced_code_ = 0;
  RawStacks raw_stacks_;
  RuleOf rule_of_;
  // Last: their callbacks use the rest.
  std::optional<bpfrt::RingBuffer> requests_;
  std::optional<bpfrt::RingBuffer> raw_ring_;
};

}  // namespace tidemark::sources
