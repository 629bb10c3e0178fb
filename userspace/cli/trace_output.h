// SPDX-License-Identifier: Apache-2.0
//
// Where the reports of a trace go: files, and stdout.
#pragma once

#include "cli/options.h"
#include "report/report.h"
#include "support/result.h"

namespace tidemark::cli {

// Can all files be written? Before a long trace, not after it.
[[nodiscard]] Status check_outputs(const TraceOptions& options);

enum class Position { kFirst, kLater };
// Files first, then the text where none of them took stdout. A later report of a series comes
// behind the first where the format has a form for that.
[[nodiscard]] Status write_report(const report::TraceReport& report, const TraceOptions& options,
                                  Position position);

}  // namespace tidemark::cli
