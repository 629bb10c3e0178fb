// SPDX-License-Identifier: Apache-2.0
//
// What walks will know of the code that a process has mapped, for people.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/process.h"

namespace tidemark::sources {

struct TableFacts {
  uint64_t rows = 0;
  uint64_t size_bytes = 0;
  uint64_t unsupported_rows = 0;  // a stack is cut there
};

// One for each mapping, in their order; none where there is no unwind data, or the file cannot be
// read: walks follow the frame pointer there. Reads the files.
[[nodiscard]] std::vector<std::optional<TableFacts>> facts_of_tables(
    const model::ProcessImage& image);

}  // namespace tidemark::sources
