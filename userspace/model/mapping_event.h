// SPDX-License-Identifier: Apache-2.0
//
// What a process does to its executable memory, told when it happens: of one that lives for
// milliseconds nothing else can be had. Pure values.
#pragma once

#include <string>
#include <variant>

#include "model/process.h"

namespace tidemark::model {

// It has become another program: what was mapped before is gone.
struct ImageReplaced {
  std::string comm;
};
// It has mapped this, executable.
struct CodeMapped {
  Mapping mapping;
};
using MappingEvent = std::variant<ImageReplaced, CodeMapped>;

}  // namespace tidemark::model
