// SPDX-License-Identifier: Apache-2.0
#include "sources/rule_service.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "bpfrt/map.h"

namespace tidemark::sources {
namespace {

// Nonsense that the frame pointer led to is asked for as well and never known.
constexpr std::size_t kMaxUnanswered = 4096;

}  // namespace

Result<std::unique_ptr<RuleService>> RuleService::open(const bpf_map* rules,
                                                       const bpf_map* requests,
                                                       const bpf_map* raw_stacks,
                                                       uint32_t max_rules,
                                                       std::shared_ptr<UnwindRules> unwind) {
  std::unique_ptr<RuleService> service(new RuleService(rules, max_rules, std::move(unwind)));
  auto ring = bpfrt::RingBuffer::open(
      requests, [raw = service.get()](const void* record, std::size_t size_bytes) {
        tm_rule_key asked{};
        if (size_bytes < sizeof(asked)) return;
        std::memcpy(&asked, record, sizeof(asked));
        raw->hear(asked);
      });
  if (!ring) return std::unexpected(ring.error());
  service->requests_ = std::move(*ring);
  auto raw_ring = bpfrt::RingBuffer::open(
      raw_stacks, [raw = service.get()](const void* record, std::size_t size_bytes) {
        const auto heard = raw->raw_stacks_.hear(record, size_bytes, raw->rule_of_);
        if (heard == RawStacks::Heard::kMapsWanted) raw->served_ = Served::kMapsWanted;
      });
  if (!raw_ring) return std::unexpected(raw_ring.error());
  service->raw_ring_ = std::move(*raw_ring);
  return service;
}

RuleService::RuleService(const bpf_map* rules, uint32_t max_rules,
                         std::shared_ptr<UnwindRules> unwind)
    : rules_(rules),
      max_rules_(max_rules),
      unwind_(std::move(unwind)),
      rule_of_([this](model::Generation owner, model::Address address) -> std::optional<tm_rule> {
        if (!unwind_->knows(owner, address)) return std::nullopt;
        return unwind_->rule_for(owner, address);
      }) {}

Result<Served> RuleService::serve() {
  served_ = Served::kAll;
  if (auto heard = hear_all(); !heard) return std::unexpected(heard.error());
  return served_;
}

Status RuleService::hear_all() {
  for (auto* ring : {&requests_, &raw_ring_}) {
    if (auto consumed = (*ring)->consume(); !consumed) return consumed;
  }
  return {};
}

// A pc of 0 tells of a new owner.
void RuleService::hear(const tm_rule_key& asked) {
  const bool known =
      asked.pc != 0 && unwind_->knows(model::Generation{asked.owner}, model::Address{asked.pc});
  if (!known) {
    served_ = Served::kMapsWanted;
    if (asked.pc != 0) unanswered_.push_back(asked);
    if (unanswered_.size() > kMaxUnanswered) unanswered_.pop_front();
  }
  if (asked.pc != 0) answer(asked);
}

// A rule that can't be written stays pending, and the walk goes along the frame pointer there.
void RuleService::answer(const tm_rule_key& asked) {
  if (given_ >= max_rules_ / 4 * 3) make_room();
  const tm_rule rule = unwind_->rule_for(model::Generation{asked.owner}, model::Address{asked.pc});
  if (bpfrt::put(rules_, asked, rule)) ++given_;
}

// Between the change of the code and this, up to a second, stacks through it may be wrong.
void RuleService::learn(model::Generation owner, const model::ProcessImage& image) {
  // What came in until now may be in code that is known from here on; an error shows again in
  // serve().
  (void)hear_all();
  const auto replaced = unwind_->learn(owner, image);
  replaced_code_ += replaced.size();
  if (!replaced.empty()) {
    drop_rules([&](const tm_rule_key& key, const tm_rule&) {
      return key.owner == owner.value &&
             std::ranges::any_of(replaced, [&](const UnwindRules::Range& range) {
               return key.pc > range.start && key.pc <= range.end;
             });
    });
  }
  raw_stacks_.learn(owner, rule_of_);
  for (const tm_rule_key& asked : std::exchange(unanswered_, {})) {
    if (asked.owner != owner.value) {
      unanswered_.push_back(asked);
    } else if (unwind_->knows(owner, model::Address{asked.pc})) {
      answer(asked);
    }
  }
}

// What led nowhere, and what was of processes that are gone, makes room for what may lead
// somewhere. The whole table is read for it: where that gains nothing, not again for every address.
void RuleService::make_room() {
  if (answers_until_cleaning_ > 0) {
    --answers_until_cleaning_;
    return;
  }
  answers_until_cleaning_ = max_rules_ / 16;
  drop_rules([&](const tm_rule_key& key, const tm_rule& rule) {
    return rule.kind == TM_RULE_NONE || gone_.contains(model::Generation{key.owner});
  });
  gone_.clear();
}

void RuleService::forget(model::Generation owner) {
  gone_.insert(owner);
}

template <typename Condition>
void RuleService::drop_rules(Condition condition) {
  std::vector<tm_rule_key> dropped;
  uint64_t seen = 0;
  const auto read = bpfrt::for_each_entry<tm_rule_key, tm_rule>(
      rules_, [&](const tm_rule_key& key, const tm_rule& rule) {
        ++seen;
        if (condition(key, rule)) dropped.push_back(key);
      });
  if (!read) return;  // they stay; the next look drops them
  for (const tm_rule_key& key : dropped) bpfrt::erase(rules_, key);
  given_ = seen - dropped.size();
}

}  // namespace tidemark::sources
