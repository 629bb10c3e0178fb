// SPDX-License-Identifier: Apache-2.0
//
// The walk in BPF and the one over a copied stack (sources/stack_walk.h) take the same steps.
#include <doctest/doctest.h>

#include <cstring>
#include <map>
#include <optional>
#include <random>

#include "sources/stack_walk.h"
#include "walk.h"

using namespace tidemark::bpf_host;
namespace sources = tidemark::sources;

// Random stacks, random rules, a few thousand times.
TEST_CASE("walk: in BPF as over a copy in userspace") {
  std::mt19937_64 random(20261122);
  const auto below = [&](uint64_t limit) { return random() % limit; };
  long long_walks = 0;
  for (int round = 0; round < 3000; ++round) {
    Walk walk;
    std::map<uint64_t, tm_rule> rules;
    for (uint64_t pc = 0x1001; pc <= 0x1010; ++pc) {
      tm_rule rule = kind_only(static_cast<tm_rule_kind>(1 + below(8)));
      if (below(3) != 0) rule.kind = static_cast<uint8_t>(TM_RULE_SP + below(2));
      rule.cfa_offset = static_cast<int32_t>(below(24) * 8);
      rule.fp_offset = -16 - 8 * static_cast<int32_t>(below(16));
      rule.saved_fp = static_cast<uint8_t>(below(4));
      rule.cfa_added = static_cast<uint8_t>(below(4) * 8);
      if (rule.kind == TM_RULE_CHAIN) rule = kind_only(TM_RULE_CHAIN);  // it says no more
      rules[pc] = rule;
      walk.put_rule(pc, rule);
    }
    // All of the stack, so that both find the same words there. No rule leads below 0x100.
    const uint64_t size = 0x4000;
    std::vector<std::byte> bytes(size);
    walk.main.sp = walk.base + 0x400;
    for (uint64_t offset = 0; offset < size; offset += 8) {
      const bool code = below(3) != 0;
      const uint64_t word =
          code ? 0x1001 + below(16) : walk.base + 0x100 + below((size - 0x100) / 8) * 8;
      walk.word(offset, word);
      std::memcpy(bytes.data() + offset, &word, sizeof(word));
    }
    walk.main.fp = walk.main.sp + below(16) * 8;
    const uint64_t pushed = walk.main.caller;  // by the call, below the stack pointer
    std::memcpy(bytes.data() + 0x400 - sizeof(pushed), &pushed, sizeof(pushed));
    const sources::StackCopy copy{.owner = {1},
                                  .pc = {0x1001},
                                  .sp = walk.main.sp,
                                  .fp = walk.main.fp,
                                  .start = walk.base,
                                  .bytes = bytes};
    const auto walked = sources::walk(copy, [&](auto, tidemark::model::Address pc) {
      const auto known = rules.find(pc.value);
      // What BPF would ask for: there is no code.
      return std::optional(known == rules.end() ? kind_only(TM_RULE_NONE) : known->second);
    });
    Frames expected;
    for (const auto frame : walked.stack.frames) expected.push_back(frame.value);
    for (const uint64_t pc : expected) {
      if (!rules.contains(pc)) walk.put_rule(pc, kind_only(TM_RULE_NONE));
    }
    CAPTURE(round);
    const Frames found = walk.frames();
    CHECK(found == expected);
    CHECK(walk.end() == (walked.stack.end == tidemark::model::StackEnd::kBottom ? TM_STACK_BOTTOM
                         : walked.stack.end == tidemark::model::StackEnd::kBroken
                             ? TM_STACK_BROKEN
                             : TM_STACK_DEPTH_LIMIT));
    long_walks += expected.size() > 4 ? 1 : 0;
  }
  CHECK(long_walks > 30);
}
