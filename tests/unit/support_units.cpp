// SPDX-License-Identifier: Apache-2.0
//
// Units as people type and read them.
#include <doctest/doctest.h>

#include <array>
#include <string_view>

#include "support/units.h"

using namespace tidemark;
using namespace std::chrono_literals;

TEST_CASE("units: durations are read with and without a suffix") {
  CHECK(parse_duration("500ms").value() == 500ms);
  CHECK(parse_duration("30s").value() == 30s);
  CHECK(parse_duration("30").value() == 30s);
  CHECK(parse_duration("5m").value() == 5min);
  CHECK(parse_duration("2h").value() == 2h);
  CHECK(parse_duration("1.5s").value() == 1500ms);
  CHECK(parse_duration("0").value() == 0s);
}

TEST_CASE("units: sizes are powers of 1024") {
  CHECK(parse_size("4096").value() == 4096);
  CHECK(parse_size("4M").value() == 4u << 20);
  CHECK(parse_size("512K").value() == 512u << 10);
  CHECK(parse_size("2G").value() == 2ull << 30);
  CHECK(parse_size("1.5K").value() == 1536);
}

TEST_CASE("units: nonsense is refused with the word in the text") {
  constexpr std::array<std::string_view, 13> kNonsense = {
      "", "s", "-1s", "1 s", "1d", "ten", "1e5", "nan", "inf", "0x10", "1ss", "1s1s", "--5"};
  for (const std::string_view word : kNonsense) {
    CAPTURE(word);
    const auto duration = parse_duration(word);
    const auto size = parse_size(word);
    REQUIRE_FALSE(duration.has_value());
    REQUIRE_FALSE(size.has_value());
    CHECK(duration.error().text.find(word) != std::string::npos);
  }
  CHECK_FALSE(parse_duration("99999999999999999999h").has_value());
  CHECK_FALSE(parse_size("99999999999999999999G").has_value());
}

TEST_CASE("units: bytes for people") {
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(1023) == "1023 B");
  CHECK(format_bytes(1024) == "1.0 KiB");
  CHECK(format_bytes(1536) == "1.5 KiB");
  CHECK(format_bytes((1u << 20) - 1) == "1.0 MiB");
  CHECK(format_bytes(UINT64_MAX) == "16.0 EiB");
  CHECK(format_bytes_change(0) == "+0 B");
  CHECK(format_bytes_change(-2048) == "-2.0 KiB");
  CHECK(format_bytes_change(INT64_MIN) == "-8.0 EiB");
}

TEST_CASE("units: durations for people") {
  CHECK(format_duration(0ns) == "0 ms");
  CHECK(format_duration(820ms) == "820 ms");
  CHECK(format_duration(999'900us) == "1.0 s");
  CHECK(format_duration(4200ms) == "4.2 s");
  CHECK(format_duration(59'990ms) == "1m00s");
  CHECK(format_duration(3min + 12s) == "3m12s");
  CHECK(format_duration(5h + 2min) == "5h02m");
  CHECK(format_duration(55h) == "2d07h");
}

TEST_CASE("units: counts in groups of three") {
  CHECK(format_count(0) == "0");
  CHECK(format_count(999) == "999");
  CHECK(format_count(1000) == "1,000");
  CHECK(format_count(1234567) == "1,234,567");
  CHECK(format_count(UINT64_MAX) == "18,446,744,073,709,551,615");
}

TEST_CASE("units: what is written in whole units is read back") {
  for (const uint64_t seconds : {1u, 30u, 59u}) {
    std::string text = format_duration(std::chrono::seconds(seconds));
    std::erase(text, ' ');
    CHECK(parse_duration(text).value() == std::chrono::seconds(seconds));
  }
}
