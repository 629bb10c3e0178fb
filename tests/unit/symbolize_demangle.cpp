// SPDX-License-Identifier: Apache-2.0
#include "symbolize/demangle.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using tidemark::symbolize::demangle;

TEST_CASE("names as people write them") {
  struct Row {
    const char* symbol;
    const char* name;
  };
  const std::vector<Row> rows{
      {"malloc", "malloc"},
      {"", ""},
      {"i", "i"},  // not "int"
      {"main", "main"},
      {"_start", "_start"},
      {"_Z", "_Z"},
      {"_Znonsense", "_Znonsense"},
      {"malloc@@GLIBC_2.2.5", "malloc"},
      {"memcpy@GLIBC_2.2.5", "memcpy"},
      {"@odd", "@odd"},
      {"_Z3fooi", "foo(int)"},
      {"_ZN3foo3barEv", "foo::bar()"},
      {"_Znwm", "operator new(unsigned long)"},
      {"_ZdlPvm", "operator delete(void*, unsigned long)"},
      {"_ZSt4cout@@GLIBCXX_3.4", "std::cout"},
      {"_Z3fooi.cold", "foo(int) [clone .cold]"},
      {"_Z3fooi.part.0", "foo(int) [clone .part.0]"},
      {"_Z3fooi.constprop.0.isra.0", "foo(int) [clone .constprop.0] [clone .isra.0]"},
      {"_Z3fooi.llvm.12345", "foo(int) [clone .llvm.12345]"},
      {"foo.cold", "foo.cold"},
      {"_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write::h0123456789abcdef"},
  };
  for (const Row& row : rows) {
    CAPTURE(std::string(row.symbol));
    CHECK(demangle(row.symbol) == row.name);
  }
}

TEST_CASE("an endless name comes back as it is") {
  const std::string name = "_Z" + std::string(100'000, 'P');
  CHECK(demangle(name) == name);
  const std::string deep = "_Z1f" + std::string(30'000, 'P') + "i";
  CHECK_FALSE(demangle(deep).empty());
}
