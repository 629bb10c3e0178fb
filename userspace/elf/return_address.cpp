// SPDX-License-Identifier: Apache-2.0
#include "elf/return_address.h"

#include <algorithm>
#include <array>

namespace tidemark::elf {

bool is_signal_return(const Image& image, Vaddr address) {
  // mov $15, %rax; syscall
  constexpr std::array<uint8_t, 9> kCode{0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};
  if (image.machine() != Machine::kX86_64) return false;
  const auto bytes = image.bytes_at(address, kCode.size());
  return bytes && std::ranges::equal(*bytes, kCode);
}

bool may_follow_call(const Image& image, Vaddr address) {
  constexpr uint64_t kLongest = 7;  // ff /2 with a SIB byte and 32 bits of displacement
  if (image.machine() != Machine::kX86_64 || address.value < kLongest) return true;
  const auto bytes = image.bytes_at({address.value - kLongest}, kLongest);
  if (!bytes) return true;
  if ((*bytes)[kLongest - 5] == 0xe8) return true;  // call rel32
  // The register field of what follows 0xff tells a call from a jump, a push and others.
  return std::ranges::any_of(std::array{2, 3, 4, 6, 7}, [&](std::size_t length) {
    const std::size_t at = kLongest - length;
    return (*bytes)[at] == 0xff && ((*bytes)[at + 1] & 0x38) == 0x10;
  });
}

}  // namespace tidemark::elf
