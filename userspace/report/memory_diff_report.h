// SPDX-License-Identifier: Apache-2.0
//
// Saved reports and traces, read back and compared: JSON "tidemark.report/1" or "tidemark.trace/1"
// to a summary, and what grew to text and to JSON "tidemark.diff/1".
#pragma once

#include <string>
#include <string_view>

#include "model/memory_diff.h"
#include "report/memory_report.h"
#include "support/result.h"

namespace tidemark::report {

// An error in one line for a document that is not whole, or is something else.
[[nodiscard]] Result<model::MemorySummary> read_summary(std::string_view document);

[[nodiscard]] std::string write_diff_text(const model::MemoryDiff& diff,
                                          const MemoryTextOptions& options);
[[nodiscard]] std::string write_diff_json(const model::MemoryDiff& diff);

}  // namespace tidemark::report
