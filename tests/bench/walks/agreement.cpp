// SPDX-License-Identifier: Apache-2.0
#include "walks/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace tidemark::bench {
namespace {

constexpr std::size_t kExamples = 5;

void note(Causes& causes, std::string_view cause, std::string example) {
  Cause& noted = causes[std::string(cause)];
  ++noted.count;
  const bool is_new = std::ranges::find(noted.examples, example) == noted.examples.end();
  if (is_new && noted.examples.size() < kExamples) noted.examples.push_back(std::move(example));
}

std::vector<uint64_t> frames_of(const model::Stack& stack) {
  std::vector<uint64_t> frames;
  for (const model::Address frame : stack.frames) frames.push_back(frame.value);
  return frames;
}

bool begins_with(const std::vector<uint64_t>& frames, const std::vector<uint64_t>& first) {
  return frames.size() >= first.size() && std::equal(first.begin(), first.end(), frames.begin());
}

const char* kind_name(const tm_rule& rule) {
  switch (rule.kind) {
    case TM_RULE_CHAIN:
      return "frame pointer";
    case TM_RULE_SP:
      return "sp";
    case TM_RULE_FP:
      return "fp";
    case TM_RULE_DEREF_SP:
    case TM_RULE_DEREF_FP:
      return "dereferenced";
    case TM_RULE_SIGNAL:
      return "signal frame";
    case TM_RULE_BOTTOM:
      return "bottom";
    default:
      return "none";
  }
}

std::string said(const Spot& spot) {
  return fmt::format("{} ({} {:+}, rbp {} {:+})", spot.name, kind_name(spot.rule),
                     spot.rule.cfa_offset, spot.rule.saved_fp, spot.rule.fp_offset);
}

// What the step from there had to go by.
std::string_view rule_in_words(const Spot& spot) {
  if (spot.rule.kind == TM_RULE_CHAIN) {
    return spot.in_file ? "file without unwind data there" : "code in no file";
  }
  if (spot.rule.kind == TM_RULE_NONE) {
    return spot.in_file ? "unwind data that no rule of ours can say" : "no code there";
  }
  return spot.rule.kind == TM_RULE_SIGNAL ? "signal frame" : "unwind data";
}

// The first frame is no caller of anything: no allocation has such a stack.
std::string by_rule(const Spot& spot, std::size_t frames) {
  return fmt::format("{}{}", rule_in_words(spot), frames == 1 ? ", at the first instruction" : "");
}

}  // namespace

void Agreement::add_end(const WalkedInBpf& b, const SpotOf& spot_of) {
  const Spot last = spot_of(b.frames.back());
  if (b.end == TM_STACK_BOTTOM && last.rule.kind == TM_RULE_BOTTOM) {
    ++at_bottom;
    ++outermost[last.name];
    return;
  }
  std::string cause;
  if (b.end == TM_STACK_DEPTH_LIMIT) {
    ++at_limit;
    cause = fmt::format("more than {} frames", TM_STACK_DEPTH);
  } else if (b.end == TM_STACK_BOTTOM) {
    cause = fmt::format("return address 0: {}", by_rule(last, b.frames.size()));
  } else {
    cause = fmt::format("no way on: {}", by_rule(last, b.frames.size()));
  }
  note(not_at_bottom, cause, said(last));
}

void Agreement::add_difference(const std::vector<uint64_t>& b, const WalkedByLibdwfl& libdwfl,
                               const SpotOf& spot_of) {
  const auto& other = libdwfl.frames;
  std::size_t common = 0;
  while (common < b.size() && common < other.size() && b[common] == other[common]) ++common;
  if (common == 0) {
    note(differing, "the first frame", libdwfl.error);
    return;
  }
  const Spot last = spot_of(b[common - 1]);
  std::string cause;
  if (common == other.size()) {
    cause = fmt::format("libdwfl gave up: {}", by_rule(last, common));
  } else if (common == b.size()) {
    cause = fmt::format("libdwfl goes on: {}", by_rule(last, common));
  } else {
    cause = fmt::format("another caller: {}", by_rule(last, common));
  }
  std::string example = said(last);
  if (common < b.size()) example += fmt::format(", ours {}", spot_of(b[common]).name);
  if (common < other.size()) example += fmt::format(", libdwfl {}", spot_of(other[common]).name);
  if (!libdwfl.error.empty()) example += ": " + libdwfl.error;
  note(differing, cause, std::move(example));
}

void Agreement::add(const WalkedThrice& walked, const SpotOf& spot_of) {
  const WalkedInBpf& b = walked.b;
  const std::vector<uint64_t> a = frames_of(walked.a.stack);
  ++stacks;
  frames += b.frames.size();
  lookups += b.lookups;
  deepest = std::max(deepest, b.frames.size());
  ids_.insert(walked.a.stack.id.value);
  add_end(b, spot_of);
  // Of a part of the stack A can see a part of the frames.
  const bool a_agrees = walked.a_was_cut ? begins_with(b.frames, a) : a == b.frames;
  if (walked.a_was_cut && a.size() < b.frames.size()) ++a_cut;
  const bool libdwfl_agrees = b.end == TM_STACK_DEPTH_LIMIT
                                  ? begins_with(walked.libdwfl.frames, b.frames)
                                  : walked.libdwfl.frames == b.frames;
  if (!a_agrees) {
    note(differing, "A is not as B",
         fmt::format("A {} frames, B {}, the last of A {}", a.size(), b.frames.size(),
                     spot_of(a.back()).name));
  }
  if (!libdwfl_agrees) add_difference(b.frames, walked.libdwfl, spot_of);
  if (a_agrees && libdwfl_agrees) ++agreed;
}

}  // namespace tidemark::bench
