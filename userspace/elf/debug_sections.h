// SPDX-License-Identifier: Apache-2.0
//
// What an ELF file says of its own names and lines, and where more of them is: a separate debug
// file (.gnu_debuglink; found by build id too, which Image knows) or a small symbol table inside of
// it, compressed (.gnu_debugdata). Errors: damaged files. The descriptors' offsets are not used.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark::elf {

struct DebugLink {
  std::string name;  // of a file, without a directory
  uint32_t crc = 0;  // of that file's content, as crc_of() says it
};

struct DebugSections {
  bool symbols = false;  // .symtab, with content
  bool lines = false;    // .debug_info, with content
  bool packed_symbols = false;
  std::optional<DebugLink> link;
};

[[nodiscard]] Result<DebugSections> read_debug_sections(const UniqueFd& file);

[[nodiscard]] Result<uint32_t> crc_of(const UniqueFd& file);

// The ELF file inside of .gnu_debugdata, as a file in memory. Errors also: there is none, it takes
// more than 64 MiB unpacked or 128 MiB to unpack.
[[nodiscard]] Result<UniqueFd> unpack_symbols(const UniqueFd& file);

}  // namespace tidemark::elf
