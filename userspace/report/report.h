// SPDX-License-Identifier: Apache-2.0
//
// Report: what is said of a trace. Only strings and numbers, nothing to look up: a Reporter needs
// this and a sink. Sizes are bytes, times nanoseconds. The order of call_sites is the order in
// which they are said: largest live_bytes first. docs/output-schema.md describes the same fields in
// JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/finding.h"
#include "model/frame.h"
#include "model/ids.h"
#include "model/snapshot.h"
#include "report/growth.h"
#include "report/stack_state.h"

namespace tidemark::report {

struct CallSiteRow {
  model::Kind kind = model::Kind::kHeap;
  std::optional<int32_t> pid;
  std::optional<std::string> comm;
  uint64_t live_bytes = 0;
  std::optional<uint64_t> live_usable_bytes;
  uint64_t live_count = 0;
  // How far live_bytes may be off: live_error.h. None where that is not known.
  std::optional<uint64_t> live_bytes_error = 0;
  uint64_t total_bytes = 0;
  uint64_t total_count = 0;
  std::optional<uint64_t> oldest_age_ns;  // of live blocks; none if none is live
  std::optional<uint64_t> youngest_age_ns;
  std::optional<std::string> allocator;
  model::Purpose purpose = model::Purpose::kNone;
  std::optional<model::Resident> resident;  // of a mapping; none for other kinds, or unknown
  std::optional<std::string> cache;
  std::vector<std::string> aliases;
  std::optional<uint32_t> order;
  std::optional<uint32_t> gfp_flags;  // of pages
  // Of kernel kinds: what got its pages here to hand out parts of them; whose the live blocks are.
  std::optional<std::string> refill;
  model::BlockOwners owners;
  std::optional<model::AuditShares> audit;       // none where its blocks were not looked up
  std::optional<model::WindowFigures> windowed;  // none where all was seen, or too little
  StackState stack = StackState::kWhole;
  std::vector<model::Frame> frames;  // frames[0] is the allocator's caller
  // Change of live bytes since the previous report of this run; none in the first one.
  std::optional<int64_t> live_bytes_change;
  // For people, not in JSON: why the stack is not whole; whether a verdict suspects this call site.
  std::optional<std::string> stack_note;
  bool suspect = false;
  model::StackId stack_id;
};

struct Mode {
  bool exact = true;
  std::optional<uint64_t> sampling_interval_bytes;
  std::optional<double> budget_percent;
  double duty_ratio = 1.0;
  std::optional<model::GovernorAccount> budget;  // how it was kept
};

struct Totals {
  uint64_t live_bytes = 0;
  std::optional<uint64_t> live_usable_bytes;
  uint64_t live_count = 0;
  uint64_t total_bytes = 0;
  uint64_t total_count = 0;
  uint64_t freed_count = 0;
  std::optional<uint64_t> unmatched_frees;  // none where blocks were sampled
  std::optional<uint64_t> live_bytes_error = 0;
  std::optional<int64_t> live_bytes_change;  // since the previous report of this run
};

// Of the live bytes, those that are mappings: address space, of which a part is in memory.
struct MappingSums {
  uint64_t live_bytes = 0;
  uint64_t live_count = 0;
  std::optional<uint64_t> resident_bytes;
  std::optional<uint64_t> resident_anonymous_bytes;
};

// Mappings that are no call site and in no sum.
struct ApartRow {
  model::Purpose purpose = model::Purpose::kHeapBacking;
  uint64_t live_bytes = 0;
  uint64_t live_count = 0;
  uint64_t total_bytes = 0;
  uint64_t total_count = 0;
  std::optional<uint64_t> resident_bytes;
};

struct Explains {
  int64_t tracked_growth_bytes = 0;
  std::optional<int64_t> rss_anon_growth_bytes;
  std::optional<double> ratio;  // none where the resident set did not grow, or a part is unknown
};

struct TraceReport {
  std::string tool_version;
  std::string kernel_release;
  uint64_t started_unix_ns = 0;
  uint64_t duration_ns = 0;
  Mode mode;
  std::vector<model::Target> targets;
  std::vector<model::Coverage> coverage;
  std::vector<model::Counter> counters;  // losses and notes, told apart by their kind
  Totals totals;
  MappingSums mappings;
  std::vector<ApartRow> apart;
  Explains explains;
  std::optional<model::WindowFacts> windows;   // where tracing was paused at times
  std::optional<model::AuditCost> audit_cost;  // none where nothing was audited
  std::optional<GrowthReport> growth;          // none where nobody asked for it
  std::vector<model::Finding> verdicts;
  std::vector<CallSiteRow> call_sites;
  // Why there is nothing to show, where there is nothing; and what to type next.
  std::optional<std::string> empty_because;
  std::vector<std::string> next_commands;
};

}  // namespace tidemark::report
