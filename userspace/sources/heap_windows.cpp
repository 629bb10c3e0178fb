// SPDX-License-Identifier: Apache-2.0
#include "sources/heap_windows.h"

#include "model/sampling.h"

namespace tidemark::sources {
namespace {

const model::Window* window_of(std::span<const model::Window> windows, uint64_t at_ns) {
  const auto at = model::window_at(windows, at_ns);
  return at ? &windows[*at] : nullptr;
}

}  // namespace

void HeapWindows::pause(uint64_t now_ns) {
  if (!have_begun()) began_ns_ = now_ns;
  if (open_since_ns_) windows_.push_back({*open_since_ns_, now_ns});
  open_since_ns_.reset();
}

void HeapWindows::resume(uint64_t now_ns) {
  open_since_ns_ = now_ns;
}

void HeapWindows::note(const tm_death& death) {
  if (deaths_.size() < kMostDeaths) {
    deaths_.push_back(death);
  } else {
    ++forgotten_;
  }
}

std::vector<model::Window> HeapWindows::windows(uint64_t now_ns) const {
  std::vector<model::Window> all = windows_;
  if (open_since_ns_ && now_ns > *open_since_ns_) all.push_back({*open_since_ns_, now_ns});
  return all;
}

std::optional<model::BlockHistory> history_of(const tm_death& death,
                                              std::span<const model::Window> windows) {
  const model::Window* const own = window_of(windows, death.birth_ns);
  if (own == nullptr) return std::nullopt;
  model::BlockHistory history(death.birth_ns,
                              model::weigh_sample(death.size_bytes, death.interval_bytes));
  const model::Window* const last = window_of(windows, death.death_ns);
  if (last != own) history.see_window_end(*own);
  // Probes are taken out one by one: a free behind the end of a window is a proof, and no more.
  if (death.kind == TM_DEATH_FREED && last != nullptr) {
    history.see_free(death.death_ns, *last);
  } else {
    history.see_allocation(death.death_ns);
  }
  return history;
}

std::optional<model::BlockHistory> history_of(const tm_block& block,
                                              std::span<const model::Window> windows) {
  const model::Window* const own = window_of(windows, block.birth_ns);
  if (own == nullptr) return std::nullopt;
  model::BlockHistory history(block.birth_ns,
                              model::weigh_sample(block.size_bytes, block.interval_bytes));
  history.see_window_end(*own);
  return history;
}

}  // namespace tidemark::sources
