// SPDX-License-Identifier: Apache-2.0
//
// Builder: a Snapshot, its Findings and the names of its stacks become a TraceReport. Pure; the
// names are a value or a function that cli/ makes out of the symbolizer, so that this module knows
// nothing of ELF files.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "model/finding.h"
#include "model/frame.h"
#include "model/snapshot.h"
#include "report/report.h"

namespace tidemark::report {

// The frames of a stack of this owner, innermost first, inlined ones spelled out; empty where it is
// not known. Asked once for each row.
using StackNames = std::function<std::vector<model::Frame>(model::Generation, model::StackId)>;

struct BuildInfo {
  std::string tool_version;
  std::string kernel_release;
  Mode mode;
};

// Takes nonsense off the outer end of a named stack, and says what it then is.
void settle_stack(std::vector<model::Frame>& frames, model::StackEnd end, StackState& state,
                  std::optional<std::string>& note);

// `previous` is the snapshot of the report before this one in the same run; null in the first one.
[[nodiscard]] TraceReport build_trace_report(const model::Snapshot& snapshot,
                                             const std::vector<model::Finding>& findings,
                                             const StackNames& names,
                                             const model::Snapshot* previous,
                                             const BuildInfo& info);

}  // namespace tidemark::report
