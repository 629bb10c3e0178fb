// SPDX-License-Identifier: Apache-2.0
#include "symbolize/demangle.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
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
      {"_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"},
      {"_ZN66_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop"
       "17h0123456789abcdefE",
       "<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop"},
      {"_RNvC6_123foo3bar", "123foo::bar"},
      {"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"},
      {"_RINvNtC3std3mem8align_ofjE", "std::mem::align_of::<usize>"},
      {"_RNCNvC7mycrate4main0", "mycrate::main::{closure#0}"},
      {"_Rnonsense", "_Rnonsense"},
      {"_R", "_R"},
  };
  for (const Row& row : rows) {
    CAPTURE(std::string(row.symbol));
    CHECK(demangle(row.symbol) == row.name);
  }
}

TEST_CASE("an endless name comes back as it is") {
  const std::string name = "_Z" + std::string(100'000, 'P');
  CHECK(demangle(name) == name);
  const std::string deep = "_Z1f" + std::string(4'000, 'P') + "i";
  CHECK(demangle(deep).size() > 4'000);
}

namespace {

// A number as references to parts of a name write it: none is 0, "0" is 1, and so on.
std::string sequence(std::size_t number, std::string_view digits) {
  if (number-- == 0) return "";
  std::string text;
  do {
    text.insert(text.begin(), digits[number % digits.size()]);
    number /= digits.size();
  } while (number != 0);
  return text;
}

constexpr std::string_view kBase62 =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::string_view kBase36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

// f<pair<aa, aa>, pair<that, that>, ...>: each level is twice as long as the one before.
std::string doubling_cpp(std::size_t levels) {
  const auto part = [](std::size_t number) { return "S" + sequence(number, kBase36) + "_"; };
  std::string name = "_Z1fI4pairI2aaS1_E";  // f is part 0, pair 1, aa 2, pair<aa, aa> 3
  for (std::size_t level = 1; level < levels; ++level)
    name += part(1) + "I" + part(2 + level) + part(2 + level) + "E";
  return name + "Evv";
}

// a::f::<(usize, usize), (that, that), ...>
std::string doubling_rust(std::size_t levels) {
  std::string name = "_RINvC1a1f";
  std::size_t last = name.size() - 2;
  name += "TjjE";
  for (std::size_t level = 1; level < levels; ++level) {
    const std::string reference = "B" + sequence(last, kBase62) + "_";
    last = name.size() - 2;
    name += "T" + reference + reference + "E";
  }
  return name + "E";
}

}  // namespace

TEST_CASE("a short name that stands for an endless one comes back as it is") {
  CHECK(demangle(doubling_cpp(2)) == "void f<pair<aa, aa>, pair<pair<aa, aa>, pair<aa, aa> > >()");
  CHECK(demangle(doubling_cpp(60)) == doubling_cpp(60));
  CHECK(demangle(doubling_rust(2)) == "a::f::<(usize, usize), ((usize, usize), (usize, usize))>");
  CHECK(demangle(doubling_rust(60)) == doubling_rust(60));
}
