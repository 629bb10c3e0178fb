// SPDX-License-Identifier: Apache-2.0
//
// SymbolTable: the functions of one ELF image, by name and by address. Owns copies of the names;
// knows nothing of files, so that its rules can be tested with literals.
//
// Addresses are image addresses. Names are mangled and without a version ("malloc", never
// "malloc@@GLIBC_2.2.5"). Views into a table live as long as the table. Not thread-safe: covering()
// builds its index on first use.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "elf/address.h"

namespace tidemark::elf {

struct Symbol {
  std::string_view name;
  Vaddr value;
  uint64_t size_bytes = 0;  // 0: the file does not say (hand-written assembly)
  bool global = false;      // global or weak binding
  // `value` is that of the resolver, not of the function which is called in the end.
  bool ifunc = false;
  // Every definition here is an old version, within reach of old binaries only.
  bool hidden_version = false;
};

// One entry as found in .symtab or .dynsym.
struct RawSymbol {
  std::string_view name;  // may still carry "@VERSION" (hidden) or "@@VERSION" (default)
  Vaddr value;
  uint64_t size_bytes = 0;
  bool global = false;
  bool ifunc = false;
  bool hidden_version = false;
  std::optional<Vaddr> section_end;  // first address behind its section
};

// True for the names that are wanted.
using NameFilter = std::function<bool(std::string_view)>;

class SymbolTable {
 public:
  SymbolTable() = default;
  // Copies the names. Entries with the same name and address become one.
  explicit SymbolTable(std::span<const RawSymbol> raw);
  // Names live in one block on the heap that Symbol::name points into.
  SymbolTable(SymbolTable&&) = default;
  SymbolTable& operator=(SymbolTable&&) = default;
  SymbolTable(const SymbolTable&) = delete;
  SymbolTable& operator=(const SymbolTable&) = delete;

  // Ascending by address, then name.
  [[nodiscard]] std::span<const Symbol> all() const { return symbols_; }

  // All definitions of `name`, one for each address: default versions first, then globals, then by
  // address. A linear search: 10 ms in a million symbols, and no second index for the few names
  // that are ever looked for.
  [[nodiscard]] std::vector<Symbol> find(std::string_view name) const;

  // The symbol that covers `address`, or null. A symbol without a size reaches to the next symbol
  // or the end of its section and yields to any that has a size. Of several the one that starts
  // last wins, then global before local, then fewer leading underscores, then the shorter name,
  // then the alphabet.
  [[nodiscard]] const Symbol* covering(Vaddr address);

 private:
  struct Range {
    uint64_t start = 0;
    uint32_t symbol = 0;  // index, or kNoSymbol; reaches to the next range
  };

  [[nodiscard]] std::vector<uint64_t> ends() const;
  void index_ranges();

  std::vector<char> names_;                         // owner of the text
  std::vector<Symbol> symbols_;                     // views into names_
  std::vector<std::optional<Vaddr>> section_ends_;  // beside symbols_
  std::vector<Range> ranges_;  // ascending, disjoint; empty until covering() is first called
  bool indexed_ = false;
};

}  // namespace tidemark::elf
