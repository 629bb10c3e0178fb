// SPDX-License-Identifier: Apache-2.0
//
// Which class an ELF file is of, without opening it as an Image, which takes 64-bit ones only.
#pragma once

#include "support/unique_fd.h"

namespace tidemark::elf {

// False for what is no ELF file or cannot be read. The descriptor's offset is not used.
[[nodiscard]] bool is_32_bit(const UniqueFd& file);

}  // namespace tidemark::elf
