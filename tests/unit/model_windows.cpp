// SPDX-License-Identifier: Apache-2.0
//
// Windows: the plan keeps its duty, lies at random and leaves no age out; layouts and histories by
// hand; intervals beside exact ones.
#include "model/windows.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "model/block_history.h"
#include "model/window_sums.h"

#include "window_plan.h"

using namespace tidemark;

namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kSecond = 1000 * kMs;
constexpr uint64_t kOverhead = 60 * kMs;

model::BlockHistory born(uint64_t at_ns) {
  return {at_ns, {.bytes = 64, .count = 1, .variance = 0}};
}

double charged_ns(const model::Window& window) {
  return static_cast<double>(window.end_ns - window.start_ns + kOverhead);
}

}  // namespace

TEST_CASE("window plan: the duty is kept, over any time, and used") {
  for (const double duty : {0.005, 0.02, 0.1, 0.3, 0.6}) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      CAPTURE(duty);
      CAPTURE(seed);
      const uint64_t from = 5 * kSecond, to = from + 1000 * kSecond;
      const auto windows = test::plan_windows({.duty = duty, .seed = seed}, from, to);
      REQUIRE(windows.size() > 10);
      CHECK(windows.front().start_ns >= from);
      CHECK(windows.back().end_ns <= to);
      double charged = 0;
      std::vector<double> charged_before;
      for (std::size_t at = 0; at < windows.size(); ++at) {
        charged_before.push_back(charged);
        charged += charged_ns(windows[at]);
        CHECK(windows[at].end_ns - windows[at].start_ns >= 100 * kMs);
        if (at > 0) CHECK(windows[at].start_ns >= windows[at - 1].end_ns + kOverhead - kMs);
      }
      CHECK(charged / 1e12 <= duty * 1.1);
      CHECK(charged / 1e12 >= duty * 0.6);
      // From the start of any window to that of any later one.
      const double at_once = 3 * charged_ns(windows.front()) + 1e6;
      double most_above = 0;
      for (std::size_t first = 0; first < windows.size(); first += 3)
        for (std::size_t last = first; last < windows.size(); last += 3) {
          const auto passed = static_cast<double>(windows[last].start_ns - windows[first].start_ns);
          most_above = std::max(most_above, charged_before[last] + charged_ns(windows[last]) -
                                                charged_before[first] - duty * passed);
        }
      CHECK(most_above <= at_once);
    }
  }
}

TEST_CASE("window plan: seeds differ, one seed is the same plan; moments are seen alike") {
  const test::WindowPlan plan{.duty = 0.1, .seed = 7};
  const auto one = test::plan_windows(plan, 0, 60 * kSecond);
  const auto again = test::plan_windows(plan, 0, 60 * kSecond);
  REQUIRE(one.size() == again.size());
  CHECK(std::ranges::equal(one, again, {}, &model::Window::start_ns, &model::Window::start_ns));
  CHECK(test::plan_windows({.duty = 0.1, .seed = 8}, 0, 60 * kSecond).front().start_ns !=
        one.front().start_ns);

  // How often a moment within a second's rhythm is in a window.
  std::vector<double> seen(10);
  double total = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    for (const model::Window& window :
         test::plan_windows({.duty = 0.1, .seed = seed}, 0, 100 * kSecond)) {
      const uint64_t middle = (window.start_ns + window.end_ns) / 2;
      seen[middle % kSecond / (kSecond / 10)] += 1;
      total += 1;
    }
  }
  for (const double count : seen) CHECK(std::abs(count - total / 10) < 4 * std::sqrt(total / 10));
}

TEST_CASE("window plan: nothing is planned for no duty, and for too short a time") {
  CHECK(test::plan_windows({.duty = 0}, 0, kSecond).empty());
  CHECK(test::plan_windows({.duty = 0.02}, 0, 10 * kMs).empty());
}

TEST_CASE(
    "window plan: a long trace sees all ages up to its half, a short one says where it does not") {
  const auto plan = test::plan_windows({.duty = 0.05, .seed = 3}, 0, 1800 * kSecond);
  const auto layout = model::WindowLayout::make(plan, 0, 1800 * kSecond);
  REQUIRE(layout);
  CHECK(layout->exposure_age_ns() == layout->leak_age_ns());
  CHECK(layout->leak_age_ns() == doctest::Approx(900e9));

  const auto few = model::WindowLayout::make(
      test::plan_windows({.duty = 0.02, .seed = 3}, 0, 60 * kSecond), 0, 60 * kSecond);
  REQUIRE(few);
  CHECK(few->exposure_age_ns() < 2e9);
}

TEST_CASE("window layout: what is exposed, by hand and by counting") {
  const std::vector<model::Window> windows = {{.start_ns = 0, .end_ns = 100},
                                              {.start_ns = 150, .end_ns = 250},
                                              {.start_ns = 600, .end_ns = 700}};
  const auto layout = model::WindowLayout::make(windows, 0, 1000);
  REQUIRE(layout);
  CHECK(layout->landmark_ns() == 25);
  CHECK(layout->all_births().total == 300);
  CHECK(layout->cohort_births(0).total == 225);
  // Born before 200: the first window's 75 and 50 of the second's.
  CHECK(layout->cohort_births(800).total == 125);
  CHECK(layout->cohort_births(800).of_window == std::vector<double>{75, 50, 0});
  CHECK(layout->window_at(0) == 0);
  CHECK_FALSE(layout->window_at(100));
  CHECK(layout->window_at(699) == 2);
  CHECK_FALSE(layout->window_at(999));

  for (const double age : {10., 25., 60., 99., 120., 300., 500., 640., 699.}) {
    double counted = 0;
    for (const model::Window& window : windows)
      for (uint64_t birth = window.start_ns; birth < window.end_ns - 25; ++birth)
        counted += layout->window_at(birth + static_cast<uint64_t>(age)).has_value();
    CAPTURE(age);
    CHECK(layout->watched_ns(age) == doctest::Approx(counted));
  }
}

TEST_CASE("window layout: too little for an estimate is said") {
  const auto two = model::WindowLayout::make({{0, 100}, {200, 300}}, 0, 1000);
  REQUIRE_FALSE(two);
  CHECK(two.error().text == "2 windows so far; an estimate takes 3");
  const auto late = model::WindowLayout::make({{0, 100}, {700, 800}, {850, 900}}, 0, 1000);
  REQUIRE_FALSE(late);
  CHECK(late.error().text.find("1 windows in the first half") == 0);
  CHECK_FALSE(model::WindowLayout::make({{0, 100}, {100, 200}, {200, 300}}, 0, 190));
}

TEST_CASE("block history: what each event proves") {
  const model::Window own{.start_ns = 0, .end_ns = 100}, later{.start_ns = 500, .end_ns = 600};
  SUBCASE("freed in its window") {
    model::BlockHistory block = born(10);
    block.see_free(30, own);
    block.see_window_end(own);
    block.see_free(550, later);
    CHECK(block.alive_until_ns() == 30);
    CHECK(block.dead_by_ns() == 30);
    CHECK(block.free_seen_ns() == 30);
  }
  SUBCASE("a later free may be another's, unless an audit saw the block at the window's start") {
    model::BlockHistory block = born(10);
    block.see_window_end(own);
    model::BlockHistory audited = block;
    block.see_free(550, later);
    CHECK(block.alive_until_ns() == 100);
    CHECK(block.dead_by_ns() == 550);
    CHECK(block.free_seen_ns() == 550);
    audited.see_audit(model::AuditVerdict::kUnchanged, 500);
    audited.see_free(550, later);
    CHECK(audited.alive_until_ns() == 550);
  }
  SUBCASE("an allocation at its address is no free of it") {
    model::BlockHistory block = born(10);
    block.see_window_end(own);
    block.see_allocation(520);
    block.see_free(550, later);
    CHECK(block.alive_until_ns() == 100);
    CHECK(block.dead_by_ns() == 520);
    CHECK_FALSE(block.free_seen_ns());
  }
  SUBCASE("what audits say") {
    model::BlockHistory block = born(10);
    block.see_window_end(own);
    block.see_audit(model::AuditVerdict::kOtherSize, 200);
    CHECK_FALSE(block.dead_by_ns());
    block.see_audit(model::AuditVerdict::kUnchanged, 300);
    CHECK(block.alive_until_ns() == 300);
    block.see_audit(model::AuditVerdict::kChanged, 400);
    block.see_audit(model::AuditVerdict::kUnchanged, 500);
    CHECK(block.alive_until_ns() == 300);
    CHECK(block.changed());
    block.see_audit(model::AuditVerdict::kDead, 600);
    CHECK(block.dead_by_ns() == 600);
    // Dead is dead.
    block.see_free(650, {.start_ns = 610, .end_ns = 700});
    CHECK_FALSE(block.free_seen_ns());
    CHECK(block.dead_by_ns() == 600);
  }
  SUBCASE("there at a window's start and no free seen: there at its end") {
    model::BlockHistory block = born(10);
    block.see_window_end(own);
    block.see_window_end(later);
    CHECK(block.alive_until_ns() == 100);
    block.see_audit(model::AuditVerdict::kUnchanged, 500);
    block.see_window_end(later);
    CHECK(block.alive_until_ns() == 600);
  }
}

TEST_CASE("window sums: Poisson intervals as the exact ones, where there are few events, too") {
  struct Row {
    double events, low, high;
  };
  // 95 % by the chi-squared distribution.
  for (const Row& row : {Row{3, 0.619, 8.767}, Row{10, 4.795, 18.39}, Row{100, 81.36, 121.63}}) {
    const model::Interval interval = model::poisson_interval_95(row.events, row.events, 1);
    CAPTURE(row.events);
    CHECK(interval.low == doctest::Approx(row.low).epsilon(0.03));
    CHECK(interval.high == doctest::Approx(row.high).epsilon(0.01));
    // In other units.
    const model::Interval scaled =
        model::poisson_interval_95(row.events * 50, row.events * 2500, 50);
    CHECK(scaled.high == doctest::Approx(interval.high * 50));
  }
  CHECK(model::poisson_interval_95(0, 0, 100).high == doctest::Approx(368.9).epsilon(0.001));
  CHECK(model::poisson_interval_95(0, 0, 100).low == 0);
}

TEST_CASE("window sums: windows that differ widen the interval, exposures that differ do not") {
  const std::vector<model::Exposure> even = {{.of_window = {1, 1, 1, 1}, .total = 4}};
  const std::vector<model::Exposure> uneven = {{.of_window = {1, 1, 1, 13}, .total = 16}};
  model::WindowedSum alike(even), different(even), as_exposed(uneven);
  for (int block = 0; block < 1000; ++block) {
    alike.add(static_cast<std::size_t>(block) % 4, 1);
    different.add(block % 10 == 0 ? 0 : 3, 1);
    as_exposed.add(block % 16 < 3 ? static_cast<std::size_t>(block) % 16 : 3, 1);
  }
  const auto width = [](const model::WindowedSum& sum) {
    const model::Interval interval = sum.interval(0);
    return (interval.high - interval.low) / sum.value();
  };
  CHECK(alike.value() == doctest::Approx(250));
  CHECK(as_exposed.value() == doctest::Approx(1000. / 16));
  CHECK(width(alike) == doctest::Approx(0.124).epsilon(0.02));
  CHECK(width(as_exposed) == doctest::Approx(0.124).epsilon(0.02));
  CHECK(width(different) > 2);
}
