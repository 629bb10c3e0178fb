// SPDX-License-Identifier: Apache-2.0
#include "symbolize/demangle.h"

#include <cxxabi.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <optional>

namespace tidemark::symbolize {
namespace {

// The demangler's cost grows faster than the name, and the name is the target's: longer ones are
// shown as they are.
constexpr std::size_t kMaxMangledBytes = 32 * 1024;

struct Free {
  void operator()(char* text) const { std::free(text); }
};

std::optional<std::string> demangle_whole(std::string_view symbol) {
  int status = 0;
  const std::unique_ptr<char, Free> text(
      abi::__cxa_demangle(std::string(symbol).c_str(), nullptr, nullptr, &status));
  if (status != 0 || !text) return std::nullopt;
  return std::string(text.get());
}

}  // namespace

std::string demangle(std::string_view symbol) {
  const auto version = symbol.find('@');
  if (version != std::string_view::npos && version > 0) symbol = symbol.substr(0, version);
  // Without this check "i" would be an int: the demangler takes bare types as well.
  if (!symbol.starts_with("_Z") || symbol.size() > kMaxMangledBytes) return std::string(symbol);

  if (auto whole = demangle_whole(symbol)) return *std::move(whole);
  const auto suffix = symbol.find('.');  // of a kind that the demangler does not know
  if (suffix != std::string_view::npos) {
    if (const auto base = demangle_whole(symbol.substr(0, suffix))) {
      return fmt::format("{} [clone {}]", *base, symbol.substr(suffix));
    }
  }
  return std::string(symbol);
}

}  // namespace tidemark::symbolize
