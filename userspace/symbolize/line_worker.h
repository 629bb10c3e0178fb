// SPDX-License-Identifier: Apache-2.0
//
// LineWorker: asks a file's DWARF for source lines in a process of its own, which reads a file that
// we do not trust with a library that does: it may crash, and it may be ended when its time or its
// memory is used up. What it has answered by then is kept.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "elf/source_lines.h"
#include "support/clock.h"
#include "support/unique_fd.h"

namespace tidemark::symbolize {

struct LineBudget {
  MonotonicTime deadline;
  uint64_t memory_bytes = 0;  // beside what this process has already
};

enum class LineEnd {
  kDone,
  kTimeOver,
  kFailed,  // it will fail again
};

struct LineAnswers {
  // One for each address; none where it came to no answer. An empty list: nothing is known there.
  std::vector<std::optional<std::vector<elf::SourceFrame>>> frames;
  LineEnd end = LineEnd::kDone;
  std::string reason{};  // why it has not come to the end
};

// Blocks until the answers are there, at the latest until the deadline. `file` stays the caller's.
[[nodiscard]] LineAnswers ask_lines(const UniqueFd& file, std::span<const elf::Vaddr> addresses,
                                    const LineBudget& budget);

}  // namespace tidemark::symbolize
