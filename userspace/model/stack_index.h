// SPDX-License-Identifier: Apache-2.0
//
// Stacks by their ids. Pure; the stacks have to outlive the index.
#pragma once

#include <span>
#include <unordered_map>

#include "model/ids.h"
#include "model/snapshot.h"

namespace tidemark::model {

using StackIndex = std::unordered_map<StackId, const Stack*>;

[[nodiscard]] inline StackIndex index_stacks(std::span<const Stack> stacks) {
  StackIndex index;
  index.reserve(stacks.size());
  for (const Stack& stack : stacks) index.emplace(stack.id, &stack);
  return index;
}

}  // namespace tidemark::model
