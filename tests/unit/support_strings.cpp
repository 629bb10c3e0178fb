// SPDX-License-Identifier: Apache-2.0
//
// The helpers that the parsers of /proc share.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "support/strings.h"

using namespace tidemark;

TEST_CASE("strings: a number fills the whole text") {
  CHECK(parse_number<int>("42") == 42);
  CHECK(parse_number<int>("-42") == -42);
  CHECK(parse_number<uint64_t>("ff", 16) == 255);
  CHECK_FALSE(parse_number<int>("").has_value());
  CHECK_FALSE(parse_number<int>("12x").has_value());
  CHECK_FALSE(parse_number<int>(" 12").has_value());
  CHECK_FALSE(parse_number<uint8_t>("256").has_value());
  CHECK_FALSE(parse_number<unsigned>("-1").has_value());
}

TEST_CASE("strings: trim and next_word") {
  CHECK(trim("  a b\t\n") == "a b");
  CHECK(trim(" \t ").empty());
  std::string_view text = "  VmRSS:\t 12 kB";
  CHECK(next_word(text) == "VmRSS:");
  CHECK(next_word(text) == "12");
  CHECK(next_word(text) == "kB");
  CHECK(next_word(text).empty());
  CHECK(next_word(text).empty());
}

TEST_CASE("strings: lines with and without a last newline") {
  const auto lines = [](std::string_view text) {
    std::vector<std::string> seen;
    for_each_line(text, [&](std::string_view line) { seen.emplace_back(line); });
    return seen;
  };
  CHECK(lines("a\nb\n") == std::vector<std::string>{"a", "b"});
  CHECK(lines("a\n\nb") == std::vector<std::string>{"a", "", "b"});
  CHECK(lines("").empty());
}
