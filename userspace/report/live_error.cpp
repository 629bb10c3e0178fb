// SPDX-License-Identifier: Apache-2.0
#include "report/live_error.h"

#include <algorithm>

#include "model/sampling.h"

namespace tidemark::report {
namespace {

bool is_loss(const model::Counter& counter) {
  return counter.kind == model::CounterKind::kLoss && counter.count > 0;
}

}  // namespace

bool has_losses(const std::vector<model::Counter>& counters) {
  return std::ranges::any_of(counters, is_loss);
}

LiveError::LiveError(const model::Snapshot& snapshot, uint64_t sampling_interval_bytes)
    : interval_bytes_(sampling_interval_bytes) {
  for (const model::Counter& counter : snapshot.counters) {
    if (is_loss(counter)) lost_bytes_ = model::sum_if_known(lost_bytes_, counter.bytes);
  }
  for (const model::CallSite& site : snapshot.call_sites) {
    if (site.kind == model::Kind::kHeap) model::add_to(all_sampled_, site);
  }
  in_windows_ = snapshot.windows.has_value();
}

std::optional<uint64_t> LiveError::of(const model::CallSite& site) const {
  // What windows did not see is in the estimate's error, and lost blocks are in it too.
  if (in_windows_ && site.kind == model::Kind::kHeap) {
    if (!site.windowed) return std::nullopt;
    return site.windowed->live_error_bytes();
  }
  if (interval_bytes_ == 0 || site.kind != model::Kind::kHeap) return lost_bytes_;
  const auto live_bytes = static_cast<double>(site.live_bytes());
  return model::sum_if_known(lost_bytes_,
                             model::half_width_95(live_bytes, site.live_variance, interval_bytes_));
}

std::optional<uint64_t> LiveError::of_total() const {
  return of(all_sampled_);
}

}  // namespace tidemark::report
