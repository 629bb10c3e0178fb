// SPDX-License-Identifier: Apache-2.0
//
// GrowthBuilder: a GrowthSnapshot and the names of its stacks become a GrowthReport, and a report
// of its own where nothing else was traced. Pure.
#pragma once

#include <vector>

#include "model/finding.h"
#include "model/growth.h"
#include "report/builder.h"
#include "report/growth.h"
#include "report/report.h"

namespace tidemark::report {

[[nodiscard]] GrowthReport build_growth(const model::GrowthSnapshot& snapshot,
                                        const StackNames& names);

// Who grows steadily, as verdicts: the fastest first.
[[nodiscard]] std::vector<model::Finding> growth_findings(const GrowthReport& growth);

// Of `trace --auto`: beside what was counted of those that grow, who they were.
void add_growth(TraceReport& report, const model::GrowthSnapshot& snapshot,
                const StackNames& names);

// Of `trace --growth`, where no call of an allocator is counted.
[[nodiscard]] TraceReport build_growth_report(const model::GrowthSnapshot& snapshot,
                                              const StackNames& names, const BuildInfo& info);

}  // namespace tidemark::report
