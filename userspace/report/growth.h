// SPDX-License-Identifier: Apache-2.0
//
// GrowthReport: what is said of the growth of all processes: who grew, how fast, and where in its
// code. Only strings and numbers. docs/output-schema.md describes it as the field "growth".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/finding.h"
#include "model/frame.h"
#include "model/growth.h"
#include "report/stack_state.h"

namespace tidemark::report {

struct GrowthSiteRow {
  int32_t pid = 0;
  std::string comm;
  bool alive = false;
  model::GrowthKind kind = model::GrowthKind::kAnonymous;
  bool in_syscall = false;
  uint64_t samples = 0;
  uint64_t touched_bytes = 0;
  uint64_t touched_bytes_error = 0;  // half of the 95 % interval, as the next one
  std::optional<uint64_t> kept_bytes;
  std::optional<uint64_t> kept_bytes_error;
  StackState stack = StackState::kWhole;
  std::optional<std::string> stack_note;
  std::vector<model::Frame> frames;  // frames[0] touched the memory, of new address space first
};

struct GrowthReport {
  bool alone = false;  // no call of an allocator was counted beside it
  uint64_t processes_watched = 0;
  uint64_t resident_error_bytes = 0;
  std::vector<model::GrowthProcess> processes;
  std::vector<model::EndedProcesses> ended;
  std::vector<GrowthSiteRow> call_sites;  // of who grows steadily first, most kept first
  // Where address space came by brk and mmap: `touched_bytes` of it are what was gained.
  std::vector<GrowthSiteRow> address_space;  // the same order
};

}  // namespace tidemark::report
