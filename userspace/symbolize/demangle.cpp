// SPDX-License-Identifier: Apache-2.0
#include "symbolize/demangle.h"

#include <fmt/format.h>
// Else libiberty declares basename() otherwise than string.h does.
#define HAVE_DECL_BASENAME 1
#include <libiberty/demangle.h>

#include <array>
#include <csetjmp>
#include <cstring>
#include <optional>

namespace tidemark::symbolize {
namespace {

// Names are the target's. The demanglers go as deep as a name is long, and a short name may stand
// for an endless one, by references to its own parts: what is longer is shown as it is.
constexpr std::size_t kMaxMangledBytes = 4 * 1024;
constexpr std::size_t kMaxDemangledBytes = 64 * 1024;

struct Sink {
  std::jmp_buf full;
  std::size_t size = 0;
  std::array<char, kMaxDemangledBytes> text;
};

// The demanglers cannot be told to stop: they are left. They are C, and hold nothing that would be
// lost.
extern "C" void take_demangled(const char* text, std::size_t size, void* to) {
  Sink& sink = *static_cast<Sink*>(to);
  if (size > sink.text.size() - sink.size) std::longjmp(sink.full, 1);
  std::memcpy(sink.text.data() + sink.size, text, size);
  sink.size += size;
}

using Demangler = int (*)(const char*, int, demangle_callbackref, void*);

bool demangle_into(Sink& sink, const char* symbol, Demangler demangler, int options) {
  if (setjmp(sink.full) != 0) return false;
  return demangler(symbol, options, take_demangled, &sink) != 0;
}

std::optional<std::string> demangle_by(Demangler demangler, int options,
                                       const std::string& symbol) {
  Sink sink;
  if (!demangle_into(sink, symbol.c_str(), demangler, options)) return std::nullopt;
  return std::string(sink.text.data(), sink.size);
}

// Rust's own scheme, and its old one, which is C++'s with a hash behind: that is left out.
std::optional<std::string> demangle_whole(std::string_view symbol) {
  const std::string text(symbol);
  const bool may_be_rust = symbol.starts_with("_R") || symbol.find("17h") != std::string_view::npos;
  if (may_be_rust) {
    if (auto rust = demangle_by(rust_demangle_callback, DMGL_NO_OPTS, text)) return rust;
  }
  if (!symbol.starts_with("_Z")) return std::nullopt;
  return demangle_by(cplus_demangle_v3_callback,
                     DMGL_PARAMS | DMGL_ANSI | DMGL_TYPES | DMGL_NO_RECURSE_LIMIT, text);
}

}  // namespace

std::string demangle(std::string_view symbol) {
  const auto version = symbol.find('@');
  if (version != std::string_view::npos && version > 0) symbol = symbol.substr(0, version);
  // Without this check "i" would be an int: the demangler takes bare types as well.
  const bool is_mangled = symbol.starts_with("_Z") || symbol.starts_with("_R");
  if (!is_mangled || symbol.size() > kMaxMangledBytes) return std::string(symbol);

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
