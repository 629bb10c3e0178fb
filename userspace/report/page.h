// SPDX-License-Identifier: Apache-2.0
//
// Page: a text report while it is written, a hundred columns wide: lines, and labelled paragraphs
// that wrap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "model/finding.h"

namespace tidemark::report {

inline constexpr std::size_t kPageWidth = 100;
inline constexpr std::size_t kLabelWidth = 10;

enum class Dress { kPlain, kBold, kRed };

// Lines with a label in front, wrapped under it.
class Page {
 public:
  explicit Page(bool color) : color_(color) {}

  void line(std::string_view text, Dress dress = Dress::kPlain);
  // Wraps at blanks; what is longer than a line (a path) stands by itself.
  void labelled(std::string_view label, std::string_view text, Dress dress = Dress::kPlain);

  [[nodiscard]] std::string finish() && { return std::move(out_); }

 private:
  bool color_;
  std::string out_;
};

// A verdict: what, the evidence below it, and with `with_next` what to do now.
void write_finding(Page& page, const model::Finding& finding, bool with_next);

[[nodiscard]] inline std::string_view plural(uint64_t count) {
  return count == 1 ? "" : "s";
}

}  // namespace tidemark::report
