// SPDX-License-Identifier: Apache-2.0
//
// Names for a report of `trace`, and their source lines: which of its stacks are looked up, and
// what that may cost.
#pragma once

#include <span>
#include <vector>

#include "cli/options.h"
#include "model/snapshot.h"
#include "report/builder.h"
#include "support/clock.h"
#include "support/result.h"
#include "symbolize/process_symbolizer.h"

namespace tidemark::cli {

// Lets names come from debuginfod servers as well. Errors: none are named, the library is missing.
[[nodiscard]] Status use_debuginfod(symbolize::ProcessSymbolizer& symbolizer);

// Looks up the lines of what the report will show, what holds most first, and returns rows for its
// coverage where that did not come to its end. An --every report takes less time for it, since the
// targets go on meanwhile.
[[nodiscard]] std::vector<model::Coverage> learn_source_lines(
    symbolize::ProcessSymbolizer& symbolizer, const model::Snapshot& snapshot,
    const TraceOptions& options, bool is_last, MonotonicTime now);

// The same for these stacks, those that matter most first.
[[nodiscard]] std::vector<model::Coverage> learn_source_lines(
    symbolize::ProcessSymbolizer& symbolizer, const std::vector<symbolize::StackToName>& stacks,
    const TraceOptions& options, bool is_last, MonotonicTime now);

// Of these stacks, as long as they live.
[[nodiscard]] report::StackNames names_of(symbolize::ProcessSymbolizer& symbolizer,
                                          std::span<const model::Stack> stacks);

}  // namespace tidemark::cli
