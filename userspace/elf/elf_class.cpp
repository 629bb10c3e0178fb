// SPDX-License-Identifier: Apache-2.0
#include "elf/elf_class.h"

#include <elf.h>
#include <unistd.h>

#include <array>
#include <cstring>

namespace tidemark::elf {

bool is_32_bit(const UniqueFd& file) {
  std::array<unsigned char, EI_NIDENT> ident{};
  if (::pread(file.get(), ident.data(), ident.size(), 0) != static_cast<ssize_t>(ident.size()))
    return false;
  return std::memcmp(ident.data(), ELFMAG, SELFMAG) == 0 && ident[EI_CLASS] == ELFCLASS32;
}

}  // namespace tidemark::elf
