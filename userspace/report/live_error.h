// SPDX-License-Identifier: Apache-2.0
//
// How far the live bytes of a trace may be off: by what was lost, which may be any call site's, and
// where blocks were sampled by half the 95 % interval besides. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/snapshot.h"

namespace tidemark::report {

[[nodiscard]] bool has_losses(const std::vector<model::Counter>& counters);

class LiveError {
 public:
  // `sampling_interval_bytes`: 0 where every block was counted.
  LiveError(const model::Snapshot& snapshot, uint64_t sampling_interval_bytes);

  // In bytes. None where nobody knows how much was lost.
  [[nodiscard]] std::optional<uint64_t> of(const model::CallSite& site) const;
  // Of the sum over all call sites.
  [[nodiscard]] std::optional<uint64_t> of_total() const;

 private:
  // Mappings are counted one by one in any case.
  model::CallSite all_sampled_;
  std::optional<uint64_t> lost_bytes_ = 0;
  uint64_t interval_bytes_;
  bool in_windows_ = false;
};

}  // namespace tidemark::report
