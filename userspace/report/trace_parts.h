// SPDX-License-Identifier: Apache-2.0
//
// What the reports of `trace` and of `kernel` have in common, in text and in JSON.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "report/json_document.h"
#include "report/page.h"
#include "report/report.h"
#include "report/reporter.h"

namespace tidemark::report {

// --- text.cpp

[[nodiscard]] std::string duration_text(uint64_t ns);
// For a column: what no longer fits is rounded.
[[nodiscard]] std::string count_text(uint64_t count);
// One line when all is well; otherwise every problem, hooks with the same reason in one.
void write_coverage(Page& page, const TraceReport& report);
void write_counters(Page& page, const TraceReport& report, model::CounterKind kind,
                    std::string_view label, Dress dress);
void write_totals(Page& page, const TraceReport& report);
void write_verdicts(Page& page, const TraceReport& report, const TextOptions& options);
void write_call_sites(Page& page, const TraceReport& report, const TextOptions& options);
[[nodiscard]] std::string frame_text(const model::Frame& frame);
void write_next(Page& page, const TraceReport& report, const TextOptions& options);

// --- growth_text.cpp

void write_growth(Page& page, const GrowthReport& growth, const TextOptions& options);
// The whole report of `trace --growth`.
void write_growth_report(Page& page, const TraceReport& report, const TextOptions& options);

// --- growth_json.cpp

[[nodiscard]] Json growth_json(const std::optional<GrowthReport>& growth);

// --- json.cpp

[[nodiscard]] Json frame_json(const model::Frame& frame);
[[nodiscard]] std::string_view stack_state_name(StackState state);

[[nodiscard]] Json mode_json(const Mode& mode);
[[nodiscard]] Json totals_json(const Totals& totals, const MappingSums& mappings);
[[nodiscard]] Json loss_json(const model::Counter& counter);
[[nodiscard]] Json note_json(const model::Counter& counter);
[[nodiscard]] Json call_site_json(const CallSiteRow& row);
[[nodiscard]] std::vector<model::Counter> counters_of(const TraceReport& report,
                                                      model::CounterKind kind);

}  // namespace tidemark::report
