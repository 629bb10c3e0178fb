// SPDX-License-Identifier: Apache-2.0
//
// CodeMap: what of an image's code is known beside its symbols: where functions begin (the search
// table that .eh_frame_hdr has for unwinders, in stripped files too) and which symbol a slot of the
// global offset table leads to (the relocations of .plt and of -fno-plt calls). Owns what it has
// read, thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "elf/address.h"
#include "elf/image.h"
#include "support/result.h"

namespace tidemark::elf {

struct CodeRange {
  Vaddr start;
  Vaddr end;  // first address behind it
};

class CodeMap {
 public:
  // What the file does not have is empty. Errors: it cannot be read as ELF.
  [[nodiscard]] static Result<CodeMap> open(const Image& image);
  CodeMap(std::vector<Vaddr> starts, std::map<Vaddr, std::string> slots);

  // From the last start of a function at or before `address` to the next one; none where the table
  // is missing or ends.
  [[nodiscard]] std::optional<CodeRange> function_around(Vaddr address) const;
  // The name of the function whose address the dynamic linker writes there.
  [[nodiscard]] std::optional<std::string_view> symbol_in_slot(Vaddr slot) const;

 private:
  std::vector<Vaddr> starts_;  // ascending
  std::map<Vaddr, std::string> slots_;
};

}  // namespace tidemark::elf
