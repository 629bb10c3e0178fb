// SPDX-License-Identifier: Apache-2.0
//
// Names for the magic numbers of statfs(2). Pure.
#pragma once

#include <cstdint>
#include <string>

namespace tidemark::system {

// As in /proc/filesystems; a number that is not known in hex.
[[nodiscard]] std::string file_system_name(uint64_t magic);

}  // namespace tidemark::system
