// SPDX-License-Identifier: Apache-2.0
//
// What `tidemark trace` is asked for, as its sources take it.
#pragma once

#include "cli/options.h"
#include "kernel/facts.h"
#include "model/selection.h"
#include "sources/source.h"
#include "support/result.h"

namespace tidemark::cli {

// Whether what is selected is there, before anything is loaded: an error tells a person's mistake.
// Cgroups become paths as /proc/PID/cgroup has them.
[[nodiscard]] Status check_selection(model::Selection& selection);

// `selection`: that of the options, and what was added to it.
[[nodiscard]] sources::Settings settings_for(const kernel::Facts& facts,
                                             const TraceOptions& options,
                                             const model::Selection& selection);

}  // namespace tidemark::cli
