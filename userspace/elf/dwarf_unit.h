// SPDX-License-Identifier: Apache-2.0
//
// DwarfUnit: one compilation unit of a file's DWARF; its functions are indexed when one of them is
// first asked for. Private to elf/: source_lines.h is the way in, and says what libdw must not be
// given.
#pragma once

#include <elfutils/libdw.h>

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace tidemark::elf {

struct CodeRange {
  uint64_t start = 0;
  uint64_t end = 0;  // first address behind it
};

// Of a unit or a function; without those of code that the linker dropped, which begin at 0.
[[nodiscard]] std::vector<CodeRange> ranges_of(Dwarf_Die& die);

class DwarfUnit {
 public:
  // `skeleton` has the lines, `tree` the functions: with split DWARF they are in different files,
  // else the same.
  DwarfUnit(const Dwarf_Die& skeleton, const Dwarf_Die& tree) : skeleton_(skeleton), tree_(tree) {}

  [[nodiscard]] Dwarf_Die& skeleton() { return skeleton_; }

  // The function that the address is in, and the inlined calls that lead to it, outermost first.
  [[nodiscard]] std::vector<Dwarf_Die> chain_at(uint64_t address);
  [[nodiscard]] std::optional<std::string> name_of(Dwarf_Die& function) const;

 private:
  struct Function {
    CodeRange range;
    Dwarf_Die die;
  };
  struct Open;  // a DIE whose children are still to be looked at

  void index();
  void visit(Dwarf_Die& die, uint32_t scope, std::vector<Open>& open);
  [[nodiscard]] uint32_t inner_scope(Dwarf_Die& die, uint32_t scope);

  Dwarf_Die skeleton_;
  Dwarf_Die tree_;
  bool indexed_ = false;
  std::vector<Function> functions_;                      // by start
  std::vector<std::string> scopes_;                      // "", "a::", "a::b::"
  std::unordered_map<Dwarf_Off, uint32_t> declared_in_;  // where a function stands -> scope
};

}  // namespace tidemark::elf
