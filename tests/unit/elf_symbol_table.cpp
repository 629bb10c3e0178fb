// SPDX-License-Identifier: Apache-2.0
//
// Which definition a name has and which symbol an address, said with literals.
#include "elf/symbol_table.h"

#include <doctest/doctest.h>

#include <vector>

using namespace tidemark;
using elf::RawSymbol;
using elf::SymbolTable;
using elf::Vaddr;

namespace {

RawSymbol raw(std::string_view name, uint64_t value, uint64_t size) {
  return {.name = name,
          .value = Vaddr{value},
          .size_bytes = size,
          .global = true,
          .section_end = Vaddr{0x9000}};
}

std::string name_at(SymbolTable& table, uint64_t address) {
  const elf::Symbol* symbol = table.covering(Vaddr{address});
  return symbol == nullptr ? "" : std::string(symbol->name);
}

}  // namespace

TEST_CASE("an empty table covers and finds nothing") {
  SymbolTable table;
  CHECK(table.find("malloc").empty());
  CHECK(table.covering(Vaddr{0}) == nullptr);
}

TEST_CASE("a symbol covers its bytes and no more") {
  const std::vector symbols{raw("one", 0x1000, 0x10), raw("two", 0x1020, 0x10)};
  SymbolTable table(symbols);
  CHECK(name_at(table, 0xfff).empty());
  CHECK(name_at(table, 0x1000) == "one");
  CHECK(name_at(table, 0x100f) == "one");
  CHECK(name_at(table, 0x1010).empty());
  CHECK(name_at(table, 0x102f) == "two");
  CHECK(name_at(table, 0x1030).empty());
}

TEST_CASE("of aliases the one that people know wins") {
  const std::vector symbols{raw("__libc_malloc", 0x1000, 0x10), raw("__malloc", 0x1000, 0x10),
                            raw("malloc", 0x1000, 0x10), raw("zalloc", 0x1000, 0x10),
                            raw("malloc_alias", 0x1000, 0x10)};
  SymbolTable table(symbols);
  CHECK(name_at(table, 0x1005) == "malloc");
}

TEST_CASE("a global name goes before a local one") {
  std::vector symbols{raw("a", 0x1000, 0x10), raw("__exported", 0x1000, 0x10)};
  symbols[0].global = false;
  SymbolTable table(symbols);
  CHECK(name_at(table, 0x1000) == "__exported");
}

TEST_CASE("the innermost wins, and the outer one comes back behind it") {
  const std::vector symbols{raw("outer", 0x1000, 0x100), raw("inner", 0x1040, 0x10),
                            raw("crossing", 0x10f0, 0x20)};
  SymbolTable table(symbols);
  CHECK(name_at(table, 0x103f) == "outer");
  CHECK(name_at(table, 0x1040) == "inner");
  CHECK(name_at(table, 0x104f) == "inner");
  CHECK(name_at(table, 0x1050) == "outer");
  CHECK(name_at(table, 0x10f0) == "crossing");
  CHECK(name_at(table, 0x110f) == "crossing");
  CHECK(name_at(table, 0x1110).empty());
}

TEST_CASE("without a size: up to the next symbol or the end of the section") {
  std::vector symbols{raw("asm_one", 0x1000, 0), raw("next", 0x1020, 0x10), raw("last", 0x1040, 0),
                      raw("elsewhere", 0x3000, 0)};
  symbols[2].section_end = Vaddr{0x1050};
  symbols[3].section_end = std::nullopt;
  SymbolTable table(symbols);
  CHECK(name_at(table, 0x101f) == "asm_one");
  CHECK(name_at(table, 0x1020) == "next");
  CHECK(name_at(table, 0x1030).empty());
  CHECK(name_at(table, 0x104f) == "last");
  CHECK(name_at(table, 0x1050).empty());
  CHECK(name_at(table, 0x3000).empty());
}

TEST_CASE("a label without a size does not hide the function around it") {
  const std::vector symbols{raw("function", 0x1000, 0x100), raw("label", 0x1040, 0)};
  SymbolTable table(symbols);
  CHECK(name_at(table, 0x1050) == "function");
  CHECK(name_at(table, 0x1100) == "label");
}

TEST_CASE("sizes that wrap around are cut") {
  const std::vector symbols{raw("huge", 0x1000, ~uint64_t{0}), raw("zero", 0, ~uint64_t{0}),
                            raw("top", ~uint64_t{0}, 1)};
  SymbolTable table(symbols);
  CHECK(name_at(table, 0x800) == "zero");
  CHECK(name_at(table, 0xffffffffffff0000) == "huge");
}

TEST_CASE("the same name at the same address is one definition, whichever table it came from") {
  std::vector symbols{raw("malloc", 0x1000, 0), raw("malloc@@GLIBC_2.2.5", 0x1000, 0x20)};
  symbols[0].global = false;
  SymbolTable table(symbols);
  const auto found = table.find("malloc");
  REQUIRE(found.size() == 1);
  CHECK(found[0].size_bytes == 0x20);
  CHECK(found[0].global);
  CHECK_FALSE(found[0].hidden_version);
}

TEST_CASE("several versions: the default first, one entry an address") {
  std::vector symbols{raw("memcpy@GLIBC_2.2.5", 0x1000, 0x20),
                      raw("memcpy@@GLIBC_2.14", 0x2000, 0x20),
                      raw("memcpy@GLIBC_2.3", 0x2000, 0x20), raw("memcpy", 0x3000, 0x20)};
  symbols[3].hidden_version = true;  // as .gnu.version says
  SymbolTable table(symbols);
  const auto found = table.find("memcpy");
  REQUIRE(found.size() == 3);
  CHECK(found[0].value == Vaddr{0x2000});
  CHECK_FALSE(found[0].hidden_version);
  CHECK(found[1].value == Vaddr{0x1000});
  CHECK(found[1].hidden_version);
  CHECK(found[2].hidden_version);
  CHECK(table.find("memcpy@GLIBC_2.3").empty());
}

TEST_CASE("a table can be moved: its names stay valid") {
  const std::vector symbols{raw("a", 0x1000, 0x10)};
  SymbolTable table(symbols);
  SymbolTable moved(std::move(table));
  CHECK(name_at(moved, 0x1000) == "a");
}
