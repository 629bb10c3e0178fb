// SPDX-License-Identifier: Apache-2.0
//
// The few string helpers that the parsers of /proc share. Nothing here allocates.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tidemark {

// Numbers must fill the whole text: "12x" is none.
template <typename T>
[[nodiscard]] std::optional<T> parse_number(std::string_view text, int base = 10) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc{} || rest != end) return std::nullopt;
  return value;
}

// "2.5": the same for one with a point.
[[nodiscard]] inline std::optional<double> parse_decimal(std::string_view text) {
  double value{};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  if (error != std::errc{} || rest != end) return std::nullopt;
  return value;
}

// "12 kB", as in /proc: the number of bytes.
[[nodiscard]] std::optional<uint64_t> parse_kibibytes(std::string_view text);

[[nodiscard]] std::string_view trim(std::string_view text);

// Cuts the first word off `text` (blanks and tabs separate) and returns it; empty at the end.
[[nodiscard]] std::string_view next_word(std::string_view& text);

// Cuts off so many words that are of no interest.
inline void skip_words(std::string_view& text, int count) {
  for (int i = 0; i < count; ++i) static_cast<void>(next_word(text));
}

// Calls `visit(line)` for each line, without its newline.
template <typename Visit>
void for_each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    visit(text.substr(0, end));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

}  // namespace tidemark
