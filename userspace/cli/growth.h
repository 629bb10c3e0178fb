// SPDX-License-Identifier: Apache-2.0
//
// `tidemark trace --growth`: watch, wait, report.
#pragma once

#include "cli/options.h"
#include "kernel/facts.h"
#include "support/result.h"

namespace tidemark::cli {

// The exit code, or why it could not.
[[nodiscard]] Result<int> run_growth(const TraceOptions& options, const kernel::Facts& facts);

}  // namespace tidemark::cli
