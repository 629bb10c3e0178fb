// SPDX-License-Identifier: Apache-2.0
//
// Reads the function symbols of .symtab and .dynsym through libelf. Private to elf/: image.h is the
// way in.
#pragma once

#include <span>

#include "elf/symbol_table.h"
#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark::elf {

// `file` stays the caller's; its offset is not used. A file without symbols gives an empty table;
// damaged sections give an error. With a filter only the functions of the names that it wants (told
// without a version) are kept, in one pass.
[[nodiscard]] Result<SymbolTable> read_symbols(const UniqueFd& file,
                                               const NameFilter& wanted = nullptr);

// The functions of all of these files, which are of one image; the same in two of them is one. What
// is damaged counts as empty, but for the first file: that is an error.
[[nodiscard]] Result<SymbolTable> read_symbols(std::span<const UniqueFd* const> files,
                                               const NameFilter& wanted = nullptr);

}  // namespace tidemark::elf
