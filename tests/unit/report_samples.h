// SPDX-License-Identifier: Apache-2.0
//
// Literal reports that the golden files were written from, and the comparison with them. With
// TIDEMARK_UPDATE_GOLDEN set in the environment the golden files are written anew; read the
// difference before you commit it.
#pragma once

#include <string>

#include "report/report.h"

namespace tidemark::report::test {

// A server with one suspect, one young call site and one that freed everything; the second report
// of a run.
[[nodiscard]] TraceReport steady_report();
// Everything that goes wrong at once: two generations of a pid, an exited target, losses, lost and
// cut stacks, unknown resident sets, missing hooks, names full of control characters, numbers at
// the end of their range.
[[nodiscard]] TraceReport ugly_report();
[[nodiscard]] TraceReport empty_report();
// Under a budget, in windows.
[[nodiscard]] TraceReport windowed_report();

// Checks `text` against tests/golden/<name>.
void check_golden(const std::string& name, const std::string& text);

// The reporter of this name from the table.
[[nodiscard]] std::string write_as(const std::string& format, const TraceReport& report);

}  // namespace tidemark::report::test
