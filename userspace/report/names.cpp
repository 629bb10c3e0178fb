// SPDX-License-Identifier: Apache-2.0
#include "report/names.h"

#include <fmt/format.h>

#include <cstdint>

namespace tidemark::report {
namespace {

// Length of the UTF-8 sequence that `text` begins with; 0 if it is none, or a control character.
std::size_t printable_length(std::string_view text) {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  const unsigned first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  uint32_t code = first & (0xffu >> (length + 1));
  for (std::size_t at = 1; at < length; ++at) {
    if ((byte(at) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(at) & 0x3fu);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  // Bidirectional overrides and line separators reorder what stands around them.
  const bool reorders = (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
  return code < 0xa0 || code > 0x10ffff || overlong || surrogate || reorders ? 0 : length;
}

// The characters of an operator's name, which are brackets of nothing: "operator<<", "operator()",
// "operator->".
std::size_t operator_length(std::string_view name, std::size_t at) {
  constexpr std::string_view kOperator = "operator";
  if (!name.substr(at).starts_with(kOperator)) return 0;
  std::size_t end = at + kOperator.size();
  if (name.substr(end).starts_with("()")) return end + 2 - at;
  while (end < name.size() && std::string_view("<>=-!").find(name[end]) != std::string_view::npos)
    ++end;
  return end - at;
}

bool closes(std::string_view name, std::size_t at, char close) {
  return name[at] == close && !(close == '>' && at > 0 && name[at - 1] == '-');
}

// Where the bracket that opens at `at` ends (the place behind it); npos if it never does.
std::size_t bracket_end(std::string_view name, std::size_t at, char open, char close) {
  std::size_t depth = 0;
  while (at < name.size()) {
    if (const std::size_t skip = operator_length(name, at); skip != 0) {
      at += skip;
      continue;
    }
    if (name[at] == open) ++depth;
    if (closes(name, at, close) && --depth == 0) return at + 1;
    ++at;
  }
  return std::string_view::npos;
}

// Puts ".." for what stands between the outermost brackets of this sort.
std::string without_inside(std::string_view name, char open, char close) {
  std::string kept;
  std::size_t at = 0;
  while (at < name.size()) {
    if (const std::size_t skip = operator_length(name, at); skip != 0) {
      kept += name.substr(at, skip);
      at += skip;
      continue;
    }
    const bool names_a_scope = name.substr(at).starts_with("(anonymous namespace)");
    const std::size_t end = name[at] == open && !names_a_scope ? bracket_end(name, at, open, close)
                                                               : std::string_view::npos;
    if (end == std::string_view::npos || end - at <= 4) {
      kept += name[at++];
    } else {
      kept += fmt::format("{}..{}", open, close);
      at = end;
    }
  }
  return kept;
}

bool continues_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string kept;
  kept.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = printable_length(text);
    kept += length == 0 ? "?" : text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return kept;
}

std::string shorten_name(std::string_view name, std::size_t width) {
  if (name.size() <= width) return std::string(name);
  std::string shorter = without_inside(name, '(', ')');
  if (shorter.size() > width) shorter = without_inside(shorter, '<', '>');
  if (shorter.size() <= width || width < 8) return shorter;
  // The end of a name says more than its beginning, which is namespaces.
  std::size_t head = (width - 3) / 3;
  std::size_t tail = shorter.size() - (width - 3 - head);
  while (head > 0 && continues_character(shorter[head])) --head;
  while (tail < shorter.size() && continues_character(shorter[tail])) ++tail;
  return shorter.substr(0, head) + "..." + shorter.substr(tail);
}

std::string_view base_name(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == std::string_view::npos || slash + 1 == path.size() ? path
                                                                     : path.substr(slash + 1);
}

std::string unnamed(const model::Frame& frame) {
  if (frame.module.empty()) return fmt::format("[unknown+{:#x}]", frame.address.value);
  std::string module = printable(base_name(frame.module));
  if (module.size() > 2 && module.front() == '[' && module.back() == ']') {
    module = module.substr(1, module.size() - 2);
  }
  return fmt::format("[{}+{:#x}]", module, frame.offset);
}

std::string brief_name(const model::Frame& frame, std::size_t width) {
  if (!frame.function) return unnamed(frame);
  const std::string name = shorten_name(printable(*frame.function), width);
  if (frame.module.empty()) return name;
  return fmt::format("{} ({})", name, printable(base_name(frame.module)));
}

const model::Frame* speaking_frame(std::span<const model::Frame> frames) {
  constexpr std::array<std::string_view, 6> kWrappers = {
      "operator new", "std::", "void std::", "__gnu_cxx::", "bool std::__", "char* std::"};
  constexpr std::array<std::string_view, 3> kLibraries = {"libc.so.", "libstdc++.so.", "libc++"};
  const auto speaks = [&](const model::Frame& frame) {
    const auto begins = [](std::string_view text) {
      return [text](std::string_view start) { return text.starts_with(start); };
    };
    if (std::ranges::any_of(kLibraries, begins(base_name(frame.module)))) return false;
    return !frame.function || std::ranges::none_of(kWrappers, begins(*frame.function));
  };
  const auto found = std::ranges::find_if(frames, speaks);
  if (found != frames.end()) return &*found;
  return frames.empty() ? nullptr : &frames.front();
}

std::string_view kind_name(model::Kind kind) {
  switch (kind) {
    case model::Kind::kHeap:
      return "heap";
    case model::Kind::kMapping:
      return "mapping";
    case model::Kind::kSlab:
      return "slab";
    case model::Kind::kPage:
      return "page";
    case model::Kind::kVmalloc:
      return "vmalloc";
    case model::Kind::kPercpu:
      return "percpu";
  }
  return "heap";
}

}  // namespace tidemark::report
