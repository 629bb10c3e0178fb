// SPDX-License-Identifier: Apache-2.0
#include "model/window_estimate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "model/window_sums.h"

namespace tidemark::model {
namespace {

constexpr double kNsPerSecond = 1e9;
constexpr double kForever = std::numeric_limits<double>::infinity();
// Ages at which survival is told and over which it is summed; the first ones divide the landmark.
constexpr double kPartsOfLandmark[] = {1.0 / 64, 1.0 / 16, 1.0 / 4};
constexpr double kAgeRatio = 1.5;

// A block of the cohort, its moments as ages in ns.
struct Member {
  std::size_t window = 0;
  double bytes = 0;
  double watched = 0;  // until its window's end
  double lived = 0;    // certainly, at least
  double gone = kForever;
  double freed = kForever;   // maybe not its own free; told of those older than the landmark
  double freed_watched = 0;  // for how long blocks of that age were watched, and ones like it
  double freed_mean_watched = 0;
  double reached = 0;  // if it is still there
  bool own_free = false;
  bool changed = false;
};

struct Cohort {
  std::vector<Member> members;
  double largest_bytes = 0;
};

// Bounds of a rate or a share without and with their sampling errors.
struct Bounds {
  double low_value = 0;
  double high_value = 0;
  Interval interval;

  [[nodiscard]] Estimate estimate() const {
    const double low = std::max(interval.low, 0.0);
    const double high = std::max({interval.high, high_value, low});
    const double middle = (std::min(low_value, high_value) + high_value) / 2;
    return {.value = std::clamp(middle, low, high), .low = low, .high = high};
  }
};

double mean_watched_ns(const WindowLayout& layout, double age) {
  for (const WindowLayout::AgeRange& range : layout.age_ranges())
    if (age <= range.to_ns) return range.mean_ns;
  return 0;
}

void see_exposure(const WindowLayout& layout, const BlockHistory& block, Member& member) {
  if (!block.free_seen_ns() || member.gone <= layout.landmark_ns()) return;
  member.freed = static_cast<double>(*block.free_seen_ns() - block.birth_ns());
  member.own_free = block.alive_until_ns() == *block.free_seen_ns();
  member.freed_watched = layout.watched_ns(member.freed);
  member.freed_mean_watched = mean_watched_ns(layout, member.freed);
}

Cohort make_cohort(const WindowLayout& layout, std::span<const BlockHistory> blocks,
                   double least_bytes) {
  Cohort cohort;
  cohort.largest_bytes = least_bytes;
  for (const BlockHistory& block : blocks) {
    const std::optional<std::size_t> window = layout.window_at(block.birth_ns());
    if (!window) continue;
    cohort.largest_bytes = std::max(cohort.largest_bytes, block.weight().bytes);
    const auto age = [&block](uint64_t at) { return static_cast<double>(at - block.birth_ns()); };
    const double watched = age(layout.windows()[*window].end_ns);
    if (watched <= layout.landmark_ns()) continue;
    cohort.members.push_back({.window = *window,
                              .bytes = block.weight().bytes,
                              .watched = watched,
                              .lived = age(block.alive_until_ns()),
                              .gone = block.dead_by_ns() ? age(*block.dead_by_ns()) : kForever,
                              .reached = age(layout.now_ns()),
                              .changed = block.changed()});
    see_exposure(layout, block, cohort.members.back());
  }
  return cohort;
}

// The two lower bounds and the upper one, for one call site.
class Survival {
 public:
  Survival(const WindowLayout& layout, const Cohort& cohort, const AuditQuality& audit)
      : layout_(layout),
        cohort_(cohort),
        by_chance_(audit.same_by_chance / (1 - audit.same_by_chance)) {}

  // Blocks older than `age`, over cohort births at least that old; births by `births_of`.
  [[nodiscard]] Bounds older_than(double age, const Exposure& births, const Exposure& all_births,
                                  double density_scale) const;
  [[nodiscard]] Estimate live(const Bounds& leak) const;
  [[nodiscard]] std::vector<double> ages() const;

 private:
  // How many others look like the block by chance, for one that was seen to change.
  [[nodiscard]] double chance_part(const Member& member, double age) const {
    return member.changed && member.watched < age ? by_chance_ : 0;
  }
  struct Density {
    double value = 0;  // holes averaged over
    double low = 0;    // of the interval, all frees taken as those of our blocks
    double high_value = 0;
    double high = 0;  // only those that certainly are
  };
  [[nodiscard]] Density by_density(double age, const Exposure& all_births,
                                   double density_scale) const;

  const WindowLayout& layout_;
  const Cohort& cohort_;
  double by_chance_;
};

Bounds Survival::older_than(double age, const Exposure& births, const Exposure& all_births,
                            double density_scale) const {
  WindowedSum low({&births, 1});
  WindowedSum high({&births, 1});
  for (const Member& member : cohort_.members) {
    if (member.reached < age) continue;
    if (member.gone > age) high.add(member.window, member.bytes);
    const double known = (member.lived >= age ? 1 : 0) - chance_part(member, age);
    if (known != 0) low.add(member.window, member.bytes * known);
  }
  const double largest = births.total > 0 ? cohort_.largest_bytes / births.total : 0;
  Bounds bounds{.low_value = std::max(low.value(), 0.0),
                .high_value = high.value(),
                .interval = {low.interval(0).low, high.interval(largest).high}};
  if (age <= layout_.landmark_ns()) return bounds;
  const Density density = by_density(age, all_births, density_scale);
  bounds.low_value = std::max(bounds.low_value, density.value);
  bounds.interval.low = std::max(bounds.interval.low, density.low);
  // The value goes with the interval: the lesser one of two values would be too low on average.
  if (density.high < bounds.interval.high) {
    bounds.high_value = density.high_value;
    bounds.interval.high = density.high;
  }
  return bounds;
}

Survival::Density Survival::by_density(double age, const Exposure& all_births,
                                       double density_scale) const {
  WindowedSum at_landmark({&all_births, 1});
  WindowedSum frees({&all_births, 1});
  WindowedSum own_frees({&all_births, 1});
  double frees_on_average = 0;
  double largest = 0;
  for (const Member& member : cohort_.members) {
    if (member.gone <= layout_.landmark_ns()) continue;
    at_landmark.add(member.window, member.bytes);
    largest = std::max(largest, member.bytes);
    if (member.freed > age || member.freed_watched <= 0) continue;
    const double part = member.bytes / (member.freed_watched * density_scale);
    frees.add(member.window, part * all_births.total);
    if (member.own_free) own_frees.add(member.window, part * all_births.total);
    if (member.freed_mean_watched > 0)
      frees_on_average += member.bytes / (member.freed_mean_watched * density_scale);
  }
  // The interval of a difference out of those of its terms (Zou and Donner 2008).
  const double there = at_landmark.value();
  const Interval around =
      at_landmark.interval(all_births.total > 0 ? cohort_.largest_bytes / all_births.total : 0);
  Density density{.value = std::max(there - frees_on_average, 0.0),
                  .high_value = std::max(there - own_frees.value(), 0.0)};
  density.high = std::max(there - own_frees.value(), 0.0) +
                 std::hypot(around.high - there, own_frees.value() - own_frees.interval(0).low);
  if (age > layout_.exposure_age_ns()) return density;
  double floor = kForever;
  for (const WindowLayout::AgeRange& range : layout_.age_ranges())
    if (range.from_ns < age) floor = std::min(floor, range.floor_ns);
  const double unseen = poisson_interval_95(0, 0, largest / (floor * density_scale)).high;
  density.low = std::max(there - frees.value() - unseen -
                             std::hypot(there - around.low, frees.interval(0).high - frees.value()),
                         0.0);
  return density;
}

std::vector<double> Survival::ages() const {
  std::vector<double> ages;
  for (const double part : kPartsOfLandmark) ages.push_back(part * layout_.landmark_ns());
  for (double age = layout_.landmark_ns(); age * kAgeRatio < layout_.leak_age_ns();
       age *= kAgeRatio)
    ages.push_back(age);
  ages.push_back(layout_.leak_age_ns());
  return ages;
}

// Columns: a range of ages each, and the blocks older than the last.
Estimate Survival::live(const Bounds& leak) const {
  const std::vector<double> ends = ages();
  std::vector<Exposure> columns;
  for (const double end : ends) columns.push_back(layout_.cohort_births(end));
  columns.push_back(columns.back());
  WindowedSum low(columns);
  WindowedSum high(columns);
  WindowedSum young(columns);
  std::vector<double> parts_low(columns.size()), parts_high(columns.size()),
      parts_young(columns.size());
  for (const Member& member : cohort_.members) {
    double from = 0;
    for (std::size_t at = 0; at < ends.size(); ++at) {
      const bool old_enough = member.reached >= ends[at];
      const auto years = [&](double until) {
        return old_enough ? std::clamp(until, from, ends[at]) - from : 0;
      };
      const double chance = old_enough ? chance_part(member, ends[at]) * (ends[at] - from) : 0;
      parts_high[at] = member.bytes * years(member.gone);
      parts_low[at] = member.bytes * (years(member.lived) - chance);
      parts_young[at] = ends[at] <= layout_.landmark_ns() ? parts_high[at] : 0;
      from = ends[at];
    }
    const double older = member.reached >= from ? member.bytes * (layout_.length_ns() - from) : 0;
    parts_high.back() = member.gone == kForever ? older : 0;
    parts_low.back() =
        older * ((member.lived >= member.reached ? 1 : 0) - chance_part(member, from));
    low.add(member.window, parts_low);
    high.add(member.window, parts_high);
    young.add(member.window, parts_young);
  }
  // Blocks that get older than the leak age were there at all ages before. (high of live: by the
  // blocks themselves only.)
  const double leak_span = layout_.leak_age_ns() - layout_.landmark_ns();
  const double largest = columns.back().total > 0
                             ? cohort_.largest_bytes * layout_.length_ns() / columns.back().total
                             : 0;
  const Bounds bounds{
      .low_value = std::max(low.value(),
                            young.value() + leak.low_value * (leak_span + layout_.leak_age_ns())),
      .high_value = high.value(),
      .interval = {
          std::max(low.interval(0).low, young.interval(0).low + leak.interval.low * leak_span),
          high.interval(largest).high}};
  return bounds.estimate();
}

Estimate per_second(const Estimate& per_ns) {
  return {per_ns.value * kNsPerSecond, per_ns.low * kNsPerSecond, per_ns.high * kNsPerSecond};
}

Estimate rate_of_births(const WindowLayout& layout, std::span<const BlockHistory> blocks,
                        double SampleWeight::*weight, double least) {
  const Exposure time = layout.all_births();
  WindowedSum sum({&time, 1});
  double largest = least;
  for (const BlockHistory& block : blocks) {
    const std::optional<std::size_t> window = layout.window_at(block.birth_ns());
    if (!window) continue;
    sum.add(*window, block.weight().*weight);
    largest = std::max(largest, block.weight().*weight);
  }
  const Interval interval = sum.interval(largest / time.total);
  return per_second({sum.value(), interval.low, interval.high});
}

// Cohort births at least `age` ago, in bytes.
Exposure births_in_bytes(const WindowLayout& layout, const Cohort& cohort, double age) {
  Exposure births{.of_window = std::vector<double>(layout.windows().size())};
  for (const Member& member : cohort.members) {
    if (member.reached < age) continue;
    births.of_window[member.window] += member.bytes;
    births.total += member.bytes;
  }
  return births;
}

std::vector<SurvivalPoint> survival_curve(const WindowLayout& layout, const Cohort& cohort,
                                          const Survival& survival) {
  std::vector<SurvivalPoint> curve;
  const Exposure all = births_in_bytes(layout, cohort, 0);
  const double bytes_per_ns = all.total / layout.cohort_births(0).total;
  for (const double age : survival.ages()) {
    const Exposure births = births_in_bytes(layout, cohort, age);
    if (births.total <= 0) break;
    Estimate share = survival.older_than(age, births, all, bytes_per_ns).estimate();
    share.high = std::min(share.high, 1.0);
    curve.push_back({.age_ns = age, .share = share});
  }
  return curve;
}

}  // namespace

SiteEstimate estimate_site(const WindowLayout& layout, std::span<const BlockHistory> blocks,
                           const AuditQuality& audit, uint32_t interval_bytes) {
  const double least_bytes = interval_bytes;
  const Cohort cohort = make_cohort(layout, blocks, least_bytes);
  const Survival survival(layout, cohort, audit);
  const Bounds leak = survival.older_than(
      layout.leak_age_ns(), layout.cohort_births(layout.leak_age_ns()), layout.cohort_births(0), 1);
  return {.birth_bytes_per_s = rate_of_births(layout, blocks, &SampleWeight::bytes, least_bytes),
          .births_per_s = rate_of_births(layout, blocks, &SampleWeight::count, 1),
          .live_bytes = survival.live(leak),
          .leak_bytes_per_s = per_second(leak.estimate()),
          .survival = survival_curve(layout, cohort, survival)};
}

}  // namespace tidemark::model
