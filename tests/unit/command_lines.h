// SPDX-License-Identifier: Apache-2.0
//
// Command lines for tests: their options, or the one line that refuses them.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cli/options.h"

using Arguments = std::vector<std::string>;

template <typename Options>
Options parse(const Arguments& arguments, const tidemark::cli::Environment& environment = {}) {
  const auto parsed = tidemark::cli::parse_options(arguments, environment);
  REQUIRE(parsed.has_value());
  return std::get<Options>(*parsed);
}

inline std::string error(const Arguments& arguments) {
  const auto parsed = tidemark::cli::parse_options(arguments, {});
  if (parsed) return "(understood)";
  const auto* usage = std::get_if<tidemark::cli::UsageError>(&parsed.error());
  if (usage == nullptr) return "(help)";
  CHECK(usage->line.find('\n') == std::string::npos);
  CHECK_FALSE(usage->line.empty());
  return usage->line;
}

inline bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}
