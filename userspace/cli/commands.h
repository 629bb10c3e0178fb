// SPDX-License-Identifier: Apache-2.0
//
// The subcommands: options in, exit code or one line of error out.
#pragma once

#include "cli/options.h"
#include "support/result.h"

namespace tidemark::cli {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitSuspects = 3;

[[nodiscard]] Result<int> run(const TraceOptions& options);
[[nodiscard]] Result<int> run(const KernelOptions& options);
[[nodiscard]] Result<int> run(const DoctorOptions& options);
[[nodiscard]] Result<int> run(const ReportOptions& options);
[[nodiscard]] Result<int> run(const DiffOptions& options);

}  // namespace tidemark::cli
