// SPDX-License-Identifier: Apache-2.0
//
// One walk of bpf/lib/stack.bpf.h, and the rules that it follows.
#pragma once

#include "trace.h"

namespace tidemark::bpf_host {

using Frames = std::vector<uint64_t>;

inline constexpr tm_rule kBottomRule{.cfa_offset = 0,
                                     .fp_offset = 0,
                                     .kind = TM_RULE_BOTTOM,
                                     .saved_fp = TM_FP_SAME,
                                     .cfa_added = 0,
                                     .unused = {}};

inline tm_rule kind_only(tm_rule_kind kind) {
  tm_rule rule = kBottomRule;
  rule.kind = static_cast<uint8_t>(kind);
  return rule;
}

inline tm_rule cfa_rule(tm_rule_kind base, int32_t cfa_offset) {
  tm_rule rule = kind_only(base);
  rule.cfa_offset = cfa_offset;
  return rule;
}

inline tm_rule saving_rule(tm_rule_kind base, int32_t cfa_offset, int32_t fp_offset) {
  tm_rule rule = cfa_rule(base, cfa_offset);
  rule.fp_offset = fp_offset;
  rule.saved_fp = TM_FP_AT_CFA;
  return rule;
}

// One allocation at 0xa000 from 0x1001, whose frame begins at `base`.
struct Walk : Trace {
  uint64_t base = main.sp;

  void word(uint64_t offset, uint64_t value) { kernel.write(base + offset, value); }
  Frames frames() {
    main.malloc(1, 0xa000);
    return frames_of(0xa000);
  }
  tm_stack_end end() { return end_of(0xa000); }
};

}  // namespace tidemark::bpf_host
