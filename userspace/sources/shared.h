// SPDX-License-Identifier: Apache-2.0
//
// What the sources of one trace have in common, made by those that are opened first: the maps that
// say who is traced, what each thread is at and how stacks are walked, and what is known of the
// targets' code.
#pragma once

#include <memory>

#include "bpfrt/shared_maps.h"
#include "sources/unwind_rules.h"

namespace tidemark::sources {

struct Shared {
  bpfrt::SharedMaps maps;
  std::shared_ptr<UnwindRules> unwind = std::make_shared<UnwindRules>();
};

}  // namespace tidemark::sources
