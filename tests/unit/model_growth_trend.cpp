// SPDX-License-Identifier: Apache-2.0
//
// Steady growth is told from jumps, waves, and starts that have come to their end; the rate's
// interval holds the truth as often as it says.
#include "model/growth_trend.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <random>

using namespace tidemark;
using model::GrowthSeries;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr double kMib = 1 << 20;

// A point each two seconds, of bytes by seconds.
GrowthSeries series_of(std::size_t points, const std::function<double(double)>& bytes) {
  GrowthSeries series;
  for (std::size_t at = 0; at < points; ++at) {
    const double seconds = 2.0 * static_cast<double>(at);
    series.add(kSecond + at * 2 * kSecond, static_cast<uint64_t>(bytes(seconds)));
  }
  return series;
}

bool is_steady(std::size_t points, const std::function<double(double)>& bytes) {
  const auto trend = series_of(points, bytes).trend();
  return trend && trend->steady;
}

}  // namespace

TEST_CASE("growth trend: a leak of a megabyte a minute is steady after a quarter of a minute") {
  const auto leak = [](double seconds) { return 20 * kMib + seconds * kMib / 60; };
  const auto trend = series_of(10, leak).trend();
  REQUIRE(trend);
  CHECK(trend->steady);
  CHECK(trend->bytes_per_s == doctest::Approx(kMib / 60).epsilon(0.001));
  CHECK(trend->low == doctest::Approx(kMib / 60).epsilon(0.001));
  CHECK(trend->high == doctest::Approx(kMib / 60).epsilon(0.001));
  CHECK(trend->span_ns == 18 * kSecond);
}

TEST_CASE("growth trend: too few points, too short, too slow, too little") {
  const auto leak = [](double seconds) { return seconds * kMib; };
  CHECK_FALSE(series_of(3, leak).trend());
  REQUIRE(series_of(5, leak).trend());
  CHECK_FALSE(is_steady(5, leak));
  CHECK(is_steady(8, leak));
  CHECK_FALSE(is_steady(60, [](double seconds) { return seconds * 900; }));
  CHECK_FALSE(is_steady(10, [](double seconds) { return seconds * 4096; }));
  CHECK(is_steady(60, [](double seconds) { return seconds * 4096; }));
  CHECK_FALSE(GrowthSeries().trend());
  CHECK_FALSE(GrowthSeries().has_grown());
  CHECK_FALSE(GrowthSeries().last_bytes());
}

TEST_CASE("growth trend: what does not grow, or not steadily") {
  CHECK_FALSE(is_steady(60, [](double) { return 50 * kMib; }));
  CHECK_FALSE(is_steady(60, [](double seconds) { return 50 * kMib - seconds * 10000; }));
  // One jump, at any time.
  for (const double at : {1.0, 30.0, 60.0, 100.0, 119.0}) {
    CAPTURE(at);
    CHECK_FALSE(is_steady(60, [at](double seconds) { return seconds > at ? 64 * kMib : kMib; }));
  }
  // A cache that fills up and is full.
  CHECK_FALSE(is_steady(60, [](double seconds) { return std::min(seconds, 70.0) * kMib; }));
  // A collector's saw.
  CHECK_FALSE(
      is_steady(60, [](double seconds) { return 30 * kMib + std::fmod(seconds, 14) * kMib; }));
  // A wave.
  CHECK_FALSE(
      is_steady(60, [](double seconds) { return 30 * kMib + 10 * kMib * std::sin(seconds / 8); }));
}

TEST_CASE("growth trend: a leak below a saw, and one that does not come evenly") {
  CHECK(is_steady(60, [](double seconds) {
    return 30 * kMib + seconds * kMib / 2 + std::fmod(seconds, 14) * kMib;
  }));
  CHECK(is_steady(60, [](double seconds) { return std::floor(seconds / 10) * kMib; }));
}

TEST_CASE("growth trend: only the last points count, so that growth ends and begins") {
  const std::size_t most = GrowthSeries::kMostPoints;
  GrowthSeries series;
  uint64_t now_ns = kSecond;
  uint64_t bytes = 1 << 20;
  for (std::size_t at = 0; at < most; ++at) series.add(now_ns += 2 * kSecond, bytes += 1 << 18);
  CHECK(series.trend()->steady);
  CHECK(series.last_bytes() == bytes);
  for (std::size_t at = 0; at < most / 2; ++at) series.add(now_ns += 2 * kSecond, bytes);
  CHECK_FALSE(series.trend()->steady);
  CHECK(series.has_grown());
  for (std::size_t at = 0; at < most; ++at) series.add(now_ns += 2 * kSecond, bytes);
  CHECK_FALSE(series.has_grown());
  CHECK(series.trend()->bytes_per_s == 0);
  for (std::size_t at = 0; at < most; ++at) series.add(now_ns += 2 * kSecond, bytes += 1 << 18);
  CHECK(series.trend()->steady);
}

TEST_CASE("growth trend: the interval holds the rate in 93 to 99 of 100 noisy runs") {
  constexpr int kRuns = 2000;
  int held = 0;
  std::mt19937_64 random(20261122);
  std::normal_distribution<double> noise(0, 300'000);
  for (int run = 0; run < kRuns; ++run) {
    const auto trend = series_of(40, [&](double seconds) {
                         return 100e6 + seconds * 20'000 + noise(random);
                       }).trend();
    REQUIRE(trend);
    held += trend->low <= 20'000 && 20'000 <= trend->high ? 1 : 0;
  }
  CHECK(held > 0.93 * kRuns);
  CHECK(held < 0.99 * kRuns);
}

TEST_CASE("growth trend: of processes that wander without growing few are called steady") {
  constexpr int kRuns = 1000;
  int steady = 0;
  std::mt19937_64 random(9);
  std::normal_distribution<double> noise(0, 500'000);
  for (int run = 0; run < kRuns; ++run)
    steady += is_steady(60, [&](double) { return 100e6 + noise(random); }) ? 1 : 0;
  CHECK(steady < kRuns / 20);
}
