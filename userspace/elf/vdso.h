// SPDX-License-Identifier: Apache-2.0
//
// The library that the kernel maps into every process. It is no file, but the same for all 64-bit
// processes of a machine, so our own serves for theirs.
#pragma once

#include <string_view>

#include "elf/image.h"
#include "support/result.h"

namespace tidemark::elf {

// As /proc/PID/maps calls it.
inline constexpr std::string_view kVdsoPath = "[vdso]";

// A copy of it. Errors: this process has none.
[[nodiscard]] Result<Image> open_vdso();

}  // namespace tidemark::elf
