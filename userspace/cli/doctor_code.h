// SPDX-License-Identifier: Apache-2.0
//
// What a trace will know of the code that a process has mapped: how stacks are walked through it
// and where the names of its functions come from. Asks what the trace asks. Reads the files of the
// process: seconds where they are very large.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "model/process.h"
#include "model/snapshot.h"
#include "sources/code_tables.h"
#include "symbolize/process_symbolizer.h"

namespace tidemark::cli {

// One executable mapping.
struct CodeRow {
  model::AddressRange range;
  std::string path;                          // "[anonymous]" where it is of no file
  std::optional<sources::TableFacts> table;  // none: the frame pointer has to serve
  symbolize::SymbolSource symbols;
  std::optional<std::string> unreadable;  // why its file says nothing
};

[[nodiscard]] std::vector<CodeRow> examine_code(const model::ProcessImage& image);

// A table; mappings of one path of which the same is to be said are one line.
[[nodiscard]] std::string render_code(const std::vector<CodeRow>& rows);
[[nodiscard]] nlohmann::ordered_json code_json(const std::vector<CodeRow>& rows);

}  // namespace tidemark::cli
