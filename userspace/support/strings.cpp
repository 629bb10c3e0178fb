// SPDX-License-Identifier: Apache-2.0
#include "support/strings.h"

namespace tidemark {

namespace {
constexpr std::string_view kBlanks = " \t\r\n";
}

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::string_view next_word(std::string_view& text) {
  const auto first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) {
    text = {};
    return {};
  }
  const auto end = text.find_first_of(kBlanks, first);
  const std::string_view word = text.substr(first, end - first);
  text = end == std::string_view::npos ? std::string_view{} : text.substr(end);
  return word;
}

std::optional<uint64_t> parse_kibibytes(std::string_view text) {
  const auto number = parse_number<uint64_t>(next_word(text));
  if (!number || *number > UINT64_MAX / 1024) return std::nullopt;
  return *number * 1024;
}

}  // namespace tidemark
