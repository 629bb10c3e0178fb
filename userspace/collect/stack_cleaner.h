// SPDX-License-Identifier: Apache-2.0
//
// StackCleaner: takes off what is no stack. In code that was built without frame pointers rbp holds
// anything, and the walk may follow it for some frames of nonsense; but nonsense seldom points into
// code. A stack ends before the first frame that is not in executable memory, and call sites whose
// stacks then are the same become one.
#pragma once

#include <map>
#include <unordered_map>

#include "model/process.h"
#include "model/snapshot.h"

namespace tidemark::collect {

// Where an address space had executable memory, over its whole life.
class CodeRanges {
 public:
  void learn(const model::ProcessImage& image);
  [[nodiscard]] bool contains(model::Address address) const;

 private:
  std::map<model::Address, model::Address> ranges_;  // start -> first address behind; disjoint
};

using CodeByOwner = std::unordered_map<model::Generation, CodeRanges>;

// Call sites of owners that are not in `code` stay as they are.
void clean_stacks(const CodeByOwner& code, std::vector<model::CallSite>& call_sites,
                  std::vector<model::Stack>& stacks);

// In its first moments a call site may have been walked before the rules of its frames were known,
// and faster than userspace could walk it instead. Such a cut stack becomes the whole one of the
// same owner, kind and allocator that begins with its frames, where there is exactly one; else the
// one that is known to be cut there, or the only one that is known to go on.
void complete_guessed(std::vector<model::CallSite>& call_sites,
                      const std::vector<model::Stack>& stacks);

}  // namespace tidemark::collect
