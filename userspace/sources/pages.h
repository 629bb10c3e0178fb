// SPDX-License-Identifier: Apache-2.0
//
// Whole pages of this machine, which are its processes', too. An address near the end of the
// address space stays what it is.
#pragma once

#include <unistd.h>

#include <cstdint>

namespace tidemark::sources {

[[nodiscard]] inline uint64_t page_bytes() {
  static const auto kBytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return kBytes;
}

[[nodiscard]] inline uint64_t page_down(uint64_t address) {
  return address & ~(page_bytes() - 1);
}

[[nodiscard]] inline uint64_t page_up(uint64_t address) {
  const uint64_t up = page_down(address + page_bytes() - 1);
  return up < address ? page_down(address) : up;
}

}  // namespace tidemark::sources
