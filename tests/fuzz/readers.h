// SPDX-License-Identifier: Apache-2.0
//
// The table of fuzz targets: one for each reader of what comes from outside, mostly text. A target
// feeds it to the parser and checks what must hold whatever the text is; it aborts where it does
// not.
#pragma once

#include <span>
#include <string_view>

namespace tidemark::fuzz {

struct Target {
  std::string_view name;  // of its corpus below tests/fuzz/corpus
  void (*run)(std::string_view text);
};

[[nodiscard]] std::span<const Target> targets();

}  // namespace tidemark::fuzz
