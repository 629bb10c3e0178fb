// SPDX-License-Identifier: Apache-2.0
//
// Result<T>: what every fallible function of tidemark returns. An Error is one line for a person:
// what failed, on what, and why; callers put their intent in front on the way up, and main prints
// it once.
#pragma once

#include <fmt/format.h>

#include <cstring>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace tidemark {

struct Error {
  std::string text;
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail(fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error{fmt::format(format, std::forward<Args>(args)...)});
}

// `error` is a positive errno value; its text ends the line.
template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail_errno(int error, fmt::format_string<Args...> format,
                                                Args&&... args) {
  return std::unexpected(Error{fmt::format(
      "{}: {}", fmt::format(format, std::forward<Args>(args)...), std::strerror(error))});
}

// Puts the intent in front of an error on its way up.
[[nodiscard]] inline std::unexpected<Error> within(std::string_view intent, Error error) {
  return std::unexpected(Error{fmt::format("{}: {}", intent, error.text)});
}

}  // namespace tidemark
