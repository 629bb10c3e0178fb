// SPDX-License-Identifier: Apache-2.0
//
// Reads the function symbols of .symtab and .dynsym through libelf. Private to elf/: image.h is the
// way in.
#pragma once

#include "elf/symbol_table.h"
#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark::elf {

// `file` stays the caller's; its offset is not used. A file without symbols gives an empty table;
// damaged sections give an error. With a filter only the functions of the names that it wants (told
// without a version) are kept, in one pass.
[[nodiscard]] Result<SymbolTable> read_symbols(const UniqueFd& file,
                                               const NameFilter& wanted = nullptr);

}  // namespace tidemark::elf
