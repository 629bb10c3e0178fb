// SPDX-License-Identifier: Apache-2.0
//
// Frame: one line of a stack with its names. `address` is the return address as the walk found it;
// offset and function_offset belong to the call before it (address - 1), which is what addr2line
// wants to be asked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/ids.h"

namespace tidemark::model {

struct Frame {
  Address address;
  std::string
      module;  // path as the target sees it; "[kernel]", "[vdso]"; "" if nothing is mapped there
  std::optional<std::string> build_id;  // lower-case hex
  uint64_t offset = 0;  // address in the ELF image; the bare address where no module is known
  std::optional<std::string> function;  // demangled
  std::optional<uint64_t> function_offset;
  std::optional<std::string> file;
  std::optional<uint32_t> line;
  bool inlined = false;
};

}  // namespace tidemark::model
