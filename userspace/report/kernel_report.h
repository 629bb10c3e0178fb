// SPDX-License-Identifier: Apache-2.0
//
// KernelReport: what is said of a trace of kernel memory: the same as of any trace, and our sums
// beside the kernel's own. docs/output-schema.md describes it as JSON "tidemark.kernel/1".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/kernel_record.h"
#include "model/kernel_snapshot.h"
#include "report/builder.h"
#include "report/memory_report.h"
#include "report/report.h"
#include "report/reporter.h"

namespace tidemark::report {

struct KernelReport {
  TraceReport trace;  // without targets
  std::string what;   // "slab, pages, percpu"
  std::vector<model::Reconciled> reconcile;
  // What the kernel itself has kept of memory that is older than the trace, largest first.
  std::vector<model::KernelRecord> older;
};

// "allocinfo", "page_owner", "alloc_traces"
[[nodiscard]] std::string_view record_source_name(model::RecordSource source);

// Pure. `what` are the kinds of memory that were asked for, as people name them. `previous` is the
// snapshot of the report before this one; null in the first one.
[[nodiscard]] KernelReport build_kernel_report(const model::KernelSnapshot& snapshot,
                                               const std::vector<model::Finding>& findings,
                                               const StackNames& names,
                                               const model::KernelSnapshot* previous,
                                               const BuildInfo& info, std::string what);

[[nodiscard]] std::string write_kernel_text(const KernelReport& report, const TextOptions& options);
// "tidemark.kernel/1"
[[nodiscard]] std::string write_kernel_json(const KernelReport& report, JsonLines lines);

}  // namespace tidemark::report
