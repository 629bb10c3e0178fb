// SPDX-License-Identifier: Apache-2.0
//
// Where the names of functions come from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tidemark::symbolize {

struct SymbolSource {
  // The best that there is: .symtab; that of a debug file; .gnu_debugdata; .dynsym, which has only
  // what others may call; what the program wrote down of code that it compiled.
  enum class Kind : uint8_t { kSymtab, kDebugFile, kPacked, kExported, kPerfMap, kNone };
  Kind kind = Kind::kNone;
  std::optional<std::string> path;  // of a debug file
};

}  // namespace tidemark::symbolize
