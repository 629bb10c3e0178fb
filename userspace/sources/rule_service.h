// SPDX-License-Identifier: Apache-2.0
//
// RuleService: answers the requests of the walk in BPF, by UnwindRules, into the map `rules`. Rules
// go when other code comes to lie at their place. Holds the maps' handles, which must outlive it.
// Single-threaded.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "bpf/abi/heap.h"
#include "bpfrt/ring_buffer.h"
#include "model/process.h"
#include "sources/source.h"
#include "sources/unwind_rules.h"
#include "support/result.h"

namespace tidemark::sources {

class RuleService {
 public:
  [[nodiscard]] static Result<std::unique_ptr<RuleService>> open(const bpf_map* rules,
                                                                 const bpf_map* requests,
                                                                 uint32_t max_rules);
  RuleService(const RuleService&) = delete;
  RuleService& operator=(const RuleService&) = delete;

  [[nodiscard]] int event_fd() const { return requests_->event_fd(); }
  [[nodiscard]] Result<Served> serve();
  // As UnwindRules::learn(); requests that had to wait for it are answered.
  void learn(model::Generation owner, const model::ProcessImage& image);
  void forget(model::Generation owner);
  // How often other code came to lie at a place that had rules.
  [[nodiscard]] uint64_t replaced_code() const { return replaced_code_; }

 private:
  RuleService(const bpf_map* rules, uint32_t max_rules) : rules_(rules), max_rules_(max_rules) {}
  void hear(const tm_rule_key& asked);
  void answer(const tm_rule_key& asked);
  template <typename Condition>
  void drop_rules(Condition condition);

  const bpf_map* rules_;
  uint32_t max_rules_;
  UnwindRules unwind_;
  std::deque<tm_rule_key> unanswered_;  // for code that came since the maps were read; oldest first
  Served served_ = Served::kAll;
  uint64_t given_ = 0;  // rules in the map, roughly
  uint64_t replaced_code_ = 0;
  std::optional<bpfrt::RingBuffer> requests_;  // last: its callback uses the rest
};

}  // namespace tidemark::sources
