// SPDX-License-Identifier: Apache-2.0
#include "collect/window_figures.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "support/units.h"

namespace tidemark::collect {
namespace {

// What was allocated: as many as were seen before, and the rate of windows since.
void settle(model::CallSite& site, double seconds) {
  const model::WindowFigures& figures = *site.windowed;
  const model::SiteEstimate& since = figures.estimate;
  const uint64_t live_bytes = figures.earlier_live_bytes + to_whole(since.live_bytes.value);
  const double mean_bytes =
      since.births_per_s.value > 0 ? since.birth_bytes_per_s.value / since.births_per_s.value : 0;
  const uint64_t live_count = figures.earlier_live_count +
                              (mean_bytes > 0 ? to_whole(since.live_bytes.value / mean_bytes) : 0);
  site.total_bytes = std::max(
      live_bytes, figures.earlier_total_bytes + to_whole(since.birth_bytes_per_s.value * seconds));
  site.total_count = std::max(
      live_count, figures.earlier_total_count + to_whole(since.births_per_s.value * seconds));
  site.freed_bytes = site.total_bytes - live_bytes;
  site.freed_count = site.total_count - live_count;
  site.live_usable_bytes.reset();
}

// The trace on the targets' own clock, from some moment on.
struct Times {
  Times(const model::WindowFacts& facts, uint64_t from_ns, uint64_t taken_ns)
      : began(facts.clock.at(from_ns)),
        taken(facts.clock.at(taken_ns)),
        seconds(static_cast<double>(taken_ns - from_ns) / 1e9) {
    for (const model::Window& window : facts.windows) {
      if (window.start_ns >= from_ns) windows.push_back(facts.clock.at(window));
    }
    own_share = static_cast<double>(taken - began) / (seconds * 1e9);
  }
  uint64_t began;
  uint64_t taken;
  double seconds;
  std::vector<model::Window> windows;
  double own_share = 1;  // of the time
};

struct Layout {
  Times times;
  Result<model::WindowLayout> windows;
};

Layout lay_out(const model::WindowFacts& facts, uint64_t from_ns, uint64_t taken_ns) {
  const Times times(facts, from_ns, taken_ns);
  return {times, model::WindowLayout::make(times.windows, times.began, times.taken)};
}

// One that joined later was in none of the windows before. (The rows of workers are of all that
// they were, over the whole time.)
uint64_t watched_from(const model::Snapshot& snapshot, const model::CallSite& site) {
  const uint64_t began_ns = snapshot.windows->began_ns;
  if (site.of_several_processes) return began_ns;
  const auto owner = std::ranges::find(snapshot.targets, site.owner, &model::Target::generation);
  return owner == snapshot.targets.end() ? began_ns : std::max(began_ns, owner->joined_ns);
}

std::vector<model::BlockHistory> take_histories(model::CallSite& site,
                                                const model::OwnClock& clock) {
  std::vector<model::BlockHistory> all;
  all.reserve(site.histories.size() + site.live_histories.size());
  for (const model::BlockHistory& gone : std::exchange(site.histories, {}))
    all.push_back(gone.on(clock));
  for (const model::LiveHistory& live : std::exchange(site.live_histories, {}))
    all.push_back(live.history.on(clock));
  return all;
}

void widen(model::Estimate& estimate, double factor, const model::PriceTrim::Reach& reach) {
  estimate = {.value = estimate.value * factor,
              .low = estimate.low * factor * reach.low,
              .high = estimate.high * factor * reach.high};
}

// However little windows tell: no more can be live than the process has room for.
std::optional<double> room_of(const model::Snapshot& snapshot, const model::CallSite& site) {
  if (site.of_several_processes) return std::nullopt;
  const auto owner = std::ranges::find(snapshot.targets, site.owner, &model::Target::generation);
  if (owner == snapshot.targets.end() || owner->writable_bytes == 0) return std::nullopt;
  return static_cast<double>(owner->writable_bytes);
}

void fit_into(model::Estimate& live, double room_bytes) {
  live.low = std::min(live.low, room_bytes);
  live.high = std::min(live.high, room_bytes);
  live.value = std::min(live.value, room_bytes);
}

void to_wall_clock(model::SiteEstimate& estimate, double own_share,
                   const model::PriceTrim::Reach& reach) {
  widen(estimate.birth_bytes_per_s, own_share, reach);
  widen(estimate.births_per_s, own_share, reach);
  widen(estimate.leak_bytes_per_s, own_share, reach);
  widen(estimate.live_bytes, 1, reach);
  for (model::SurvivalPoint& point : estimate.survival) point.age_ns /= own_share;
}

}  // namespace

void estimate_windows(model::Snapshot& snapshot) {
  if (!snapshot.windows) return;
  model::WindowFacts& facts = *snapshot.windows;
  std::map<uint64_t, Layout> layouts;  // by when it begins
  const auto layout_from = [&](uint64_t from_ns) -> const Layout& {
    const auto known = layouts.find(from_ns);
    if (known != layouts.end()) return known->second;
    return layouts.emplace(from_ns, lay_out(facts, from_ns, snapshot.taken_ns)).first->second;
  };
  const Layout& whole = layout_from(facts.began_ns);
  if (!whole.windows) {
    facts.too_few = whole.windows.error().text;
    for (model::CallSite& site : snapshot.call_sites) site.windowed.reset();
    return;
  }
  facts.exposure_age_ns = whole.windows->exposure_age_ns() / whole.times.own_share;
  for (model::CallSite& site : snapshot.call_sites) {
    if (site.kind != model::Kind::kHeap) continue;
    const Layout& layout = layout_from(watched_from(snapshot, site));
    if (!layout.windows) {
      site.windowed.reset();
      continue;
    }
    if (!site.windowed) site.windowed.emplace();
    model::AuditQuality quality;
    quality.same_by_chance = std::max(quality.same_by_chance, site.same_by_chance.value_or(0));
    site.windowed->estimate = model::estimate_site(
        *layout.windows, take_histories(site, facts.clock), quality, facts.sampling_interval_bytes);
    to_wall_clock(site.windowed->estimate, layout.times.own_share, facts.reach);
    if (const auto room = room_of(snapshot, site))
      fit_into(site.windowed->estimate.live_bytes, *room);
    settle(site, layout.times.seconds);
  }
}

}  // namespace tidemark::collect
