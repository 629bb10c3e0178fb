// SPDX-License-Identifier: Apache-2.0
//
// The governor on targets that we make up: a processor whose time goes to the target's own work and
// to what the probes take.
#include "model/governor.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <vector>

using namespace tidemark;
using model::Gear;

namespace {

constexpr double kTick = 0.025;
constexpr double kTrap = 1000;    // ns of a trap
constexpr double kRecord = 1500;  // ns of a program that records
constexpr double kDecide = 200;   // ns of one that decides against it
constexpr double kOwnPair = 300;  // ns of the target's own work around an allocation
constexpr double kSize = 100;     // bytes of a block

// Pairs of malloc and free per second that the target wants to do, by the time in seconds.
using Wanted = std::function<double(double)>;

struct Run {
  model::GovernorAccount account;
  double worst_share = 0;   // of any ten seconds
  double lost_at_once = 0;  // CPU seconds in the worst second
  std::vector<Gear> gears;  // by tick
};

// What a pair takes beside the target's own work.
struct PairCost {
  double traps = 0;
  double programs = 0;
};

PairCost cost_of(const model::Setting& setting) {
  if (setting.gear == Gear::kPaused) return {};
  if (setting.gear == Gear::kExact) return {3 * kTrap, kRecord + 2 * kDecide};
  const double sampled = std::min(1.0, kSize / setting.interval_bytes);
  return {(2 + sampled) * kTrap, 2 * kDecide + sampled * kRecord};
}

double sum(const std::vector<double>& values, std::size_t first, std::size_t last) {
  double total = 0;
  for (std::size_t at = first; at < last; ++at) total += values[at];
  return total;
}

double worst_of(const std::vector<double>& extra, const std::vector<double>& own, double seconds) {
  const auto span = static_cast<std::size_t>(seconds / kTick);
  double worst = 0;
  for (std::size_t at = 0; at + span <= extra.size(); ++at) {
    const double used = sum(own, at, at + span);
    if (used > 0) worst = std::max(worst, sum(extra, at, at + span) / used);
  }
  return worst;
}

// `trap_factor`: what a trap costs in the target, beside what the governor was told at the start.
Run run(double budget, double seconds, const Wanted& wanted, double idle_share = 0.5,
        double trap_factor = 1) {
  model::CostReading reading{.now = {1}, .targets_cpu_ns = 0, .spending = {}};
  model::Governor governor(budget, kTrap, 7, reading);
  model::Setting setting;
  Run result;
  std::vector<double> extra, own;
  for (double now = 0; now < seconds; now += kTick) {
    PairCost cost = cost_of(setting);
    cost.traps *= trap_factor;
    const double pair = kOwnPair + cost.traps + cost.programs;
    // The processor has one second a second; what is not asked for is used by other work.
    const double pairs = std::min(wanted(now) * kTick, kTick * 1e9 / pair);
    const double taken = pairs * (cost.traps + cost.programs);
    const double other = std::max(0.0, kTick * 1e9 * idle_share - pairs * pair);
    extra.push_back(taken);
    own.push_back(pairs * kOwnPair + other);
    reading.now.ns += static_cast<uint64_t>(kTick * 1e9);
    reading.targets_cpu_ns += static_cast<uint64_t>(extra.back() + own.back());
    reading.spending.traps_ns += static_cast<uint64_t>(pairs * cost.traps);
    reading.spending.programs_ns += static_cast<uint64_t>(pairs * cost.programs);
    if (setting.gear != Gear::kPaused) reading.spending.calls += static_cast<uint64_t>(2 * pairs);
    result.gears.push_back(setting.gear);
    setting = governor.decide(reading);
  }
  result.account = governor.account();
  result.worst_share = worst_of(extra, own, 10);
  const auto second = static_cast<std::size_t>(1 / kTick);
  for (std::size_t at = 0; at + second <= extra.size(); ++at)
    result.lost_at_once = std::max(result.lost_at_once, sum(extra, at, at + second) / 1e9);
  return result;
}

Wanted steady(double rate) {
  return [rate](double) { return rate; };
}

// What a window may take beyond what was expected of it, as a share of ten seconds of a target that
// uses half a processor or more: a tick, and the first moments of all.
constexpr double kReserveShare = 0.05 / 5;

}  // namespace

TEST_CASE("governor: what costs less than the budget stays exact") {
  const Run quiet = run(0.05, 60, steady(1000));
  CHECK(quiet.account.paused_ns == 0);
  CHECK(quiet.account.sampled_ns == 0);
  CHECK(quiet.account.changes == 0);
  CHECK(quiet.account.duty_ratio() == doctest::Approx(1));
  CHECK(quiet.worst_share <= 0.05);
}

TEST_CASE("governor: the budget is kept at any rate") {
  for (const double budget : {0.01, 0.02, 0.05}) {
    for (const double rate : {1e3, 5e3, 2e4, 1e5, 5e5, 2e6}) {
      CAPTURE(budget);
      CAPTURE(rate);
      const Run busy = run(budget, 120, steady(rate));
      CHECK(busy.account.share() <= budget * 1.1 + kReserveShare / 12);
      CHECK(busy.worst_share <= budget * 1.1 + kReserveShare);
      CHECK(busy.account.worst_share.value_or(0) == doctest::Approx(busy.worst_share).epsilon(0.1));
    }
  }
}

TEST_CASE("governor: the budget is kept where traps are dearer than they were in the helper") {
  const Run dear = run(0.05, 120, steady(8e3), 0.5, 2.5);
  CHECK(dear.account.paused_ns > 0);
  CHECK(dear.account.share() <= 0.05 * 1.1 + kReserveShare / 12);
  CHECK(dear.worst_share <= 0.05 * 1.1 + kReserveShare);
}

TEST_CASE("governor: a budget is used where there is something to be seen for it") {
  for (const double rate : {1e5, 2e6}) {
    const Run busy = run(0.05, 120, steady(rate));
    CHECK(busy.account.share() >= 0.03);
    CHECK(busy.account.duty_ratio() < 1);
    CHECK(busy.account.duty_ratio() > 0.004);
  }
}

TEST_CASE("governor: a burst is throttled before it has lost 300 ms") {
  for (const double begin : {0.0, 20.0}) {
    const Run burst = run(0.05, 60, [begin](double now) { return now < begin ? 1e3 : 2e6; });
    CHECK(burst.lost_at_once < 0.3);
  }
}

TEST_CASE("governor: traps within the budget and records beyond it make samples") {
  const Run sampled = run(0.05, 60, steady(8e3));
  CHECK(sampled.account.sampled_ns > 0);
  CHECK(sampled.account.duty_ratio() > 0.9);
  CHECK(sampled.worst_share <= 0.05 * 1.1 + kReserveShare);
}

TEST_CASE("governor: in windows samples are as many as traps are worth") {
  const Run windows = run(0.05, 60, steady(1e6));
  CHECK(windows.account.paused_ns > windows.account.sampled_ns);
  CHECK(windows.account.longest_interval_bytes <= 64 << 10);
}

TEST_CASE("governor: a target that does next to nothing is seen whole") {
  const Run quiet = run(0.05, 60, steady(1500), 0.0001);
  CHECK(quiet.account.changes == 0);
  CHECK(quiet.account.exact_ns > 0);
}

TEST_CASE("governor: back to exact when the target is quiet again, not at once") {
  const Run calm = run(0.05, 120, [](double now) { return now < 20 ? 5e5 : 500.0; });
  const auto at = [&](double seconds) {
    return calm.gears[static_cast<std::size_t>(seconds / kTick)];
  };
  CHECK(at(15) != Gear::kExact);
  CHECK(at(21) != Gear::kExact);
  CHECK(at(110) == Gear::kExact);
}

TEST_CASE("governor: a debt of the first moments makes no samples for good") {
  const Run calm = run(0.05, 30, [](double now) { return now < 0.05 ? 1e6 : 1000.0; });
  CHECK(calm.gears.back() == Gear::kExact);
  CHECK(calm.account.longest_interval_bytes <= 512 << 10);
}

TEST_CASE("governor: what the end of a window costs is part of what it may cost") {
  constexpr uint64_t kMs = 1'000'000;
  constexpr uint64_t kClosingMs = 150;  // with probes there, at the rate of a window
  model::CostReading reading{.now = {1}, .targets_cpu_ns = 0, .spending = {}};
  model::Governor governor(0.05, kTrap, 7, reading);
  model::Setting setting;
  const auto pass = [&](uint64_t ms, double share) {
    reading.now.ns += ms * kMs;
    reading.targets_cpu_ns += ms * kMs;
    reading.spending.traps_ns += static_cast<uint64_t>(share * static_cast<double>(ms * kMs));
    reading.spending.calls = reading.spending.traps_ns / 1000;
  };
  for (int tick = 0; tick < 4000; ++tick) {
    pass(25, setting.gear == Gear::kPaused ? 0 : 0.7);
    const model::Setting next = governor.decide(reading);
    if (next.gear == Gear::kPaused && setting.gear != Gear::kPaused) pass(kClosingMs, 0.7);
    if (next != setting) governor.shifted(reading);
    setting = next;
  }
  CHECK(governor.account().changes > 20);
  CHECK(governor.account().share() <= 0.05);
  CHECK(governor.account().worst_share.value_or(1) <= 0.05 * 1.1);
}

struct Gaps {  // between the beginnings of windows, seconds
  std::size_t count = 0;
  double shortest = 1e9;
  double longest = 0;
  std::set<std::size_t> lengths;  // in ticks
};

Gaps gaps_of(const Run& run) {
  Gaps gaps;
  std::size_t last = 0;
  for (std::size_t at = 1; at < run.gears.size(); ++at) {
    if (run.gears[at] == Gear::kPaused || run.gears[at - 1] != Gear::kPaused) continue;
    const double seconds = static_cast<double>(at - last) * kTick;
    if (last != 0) {
      ++gaps.count;
      gaps.lengths.insert(at - last);
      gaps.shortest = std::min(gaps.shortest, seconds);
      gaps.longest = std::max(gaps.longest, seconds);
    }
    last = at;
  }
  return gaps;
}

TEST_CASE("governor: windows come at random times") {
  const Gaps often = gaps_of(run(0.05, 300, steady(2e6)));
  REQUIRE(often.count > 20);
  CHECK(often.longest >= 2 * often.shortest);
  // Where ten seconds have room for hardly more than one window, it is some of them that vary.
  const Gaps seldom = gaps_of(run(0.02, 600, steady(2e6)));
  REQUIRE(seldom.count > 20);
  CHECK(seldom.longest - seldom.shortest >= 3);
  CHECK(seldom.lengths.size() >= 10);
}

TEST_CASE("governor: who was busy and is quiet now is looked at, if it was too dear before") {
  for (const double budget : {0.005, 0.02}) {
    CAPTURE(budget);
    const Run calm = run(
        budget, 240, [](double now) { return now < 30 ? 2e6 : 30.0; }, 0.01);
    const auto is_open = [](Gear gear) { return gear != Gear::kPaused; };
    const auto quiet = calm.gears.begin() + static_cast<std::ptrdiff_t>(60 / kTick);
    CHECK(std::any_of(quiet, calm.gears.end(), is_open));
    CHECK(is_open(calm.gears.back()));
  }
}

TEST_CASE("governor: putting probes in and out is paid for, and no sign of what they cost") {
  constexpr uint64_t kMs = 1'000'000;
  model::CostReading reading{.now = {1}, .targets_cpu_ns = 0, .spending = {}};
  model::Governor governor(0.05, kTrap, 7, reading);
  const auto pass = [&](uint64_t ms, double share) {
    reading.now.ns += ms * kMs;
    reading.targets_cpu_ns += ms * kMs;
    reading.spending.traps_ns += static_cast<uint64_t>(share * static_cast<double>(ms * kMs));
    reading.spending.calls = reading.spending.traps_ns / 1000;
  };
  pass(50, 0.9);
  governor.shifted(reading);
  CHECK(governor.account().extra_ns == 45 * kMs);
  pass(10, 0.9);
  CHECK(governor.decide(reading).gear == Gear::kPaused);
  CHECK(governor.account().extra_ns == 54 * kMs);
  governor.counting_begins();
  CHECK(governor.account().exact_ns == 0);
  CHECK(governor.account().extra_ns == 54 * kMs);
}
