// SPDX-License-Identifier: Apache-2.0
//
// The two ways to say where something is in an ELF file, and the machines that it can be for.
#pragma once

#include <cstdint>
#include <string_view>

#include "support/strong.h"

namespace tidemark::elf {

using Vaddr = Strong<struct VaddrTag, uint64_t>;  // as linked: st_value, p_vaddr; no load bias
using FileOffset = Strong<struct FileOffsetTag, uint64_t>;  // bytes from the start of the file

enum class Machine { kX86_64, kArm64, kOther };

[[nodiscard]] constexpr std::string_view machine_name(Machine machine) {
  switch (machine) {
    case Machine::kX86_64:
      return "x86-64";
    case Machine::kArm64:
      return "arm64";
    case Machine::kOther:
      break;
  }
  return "this machine";
}

}  // namespace tidemark::elf
