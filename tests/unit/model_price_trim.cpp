// SPDX-License-Identifier: Apache-2.0
//
// What a trap costs in a target, out of its CPU time and the user part of it: targets that we make
// up, whose traps cost what we say.
#include "model/price_trim.h"

#include <doctest/doctest.h>

#include <random>

using namespace tidemark;
using model::CpuSpan;
using model::PriceTrim;

namespace {

struct Truth {
  double factor = 1.0;       // of the price that we know
  double own_part = 0.5;     // of the CPU time in windows
  double system_part = 0.1;  // of the target's own work
};

// A tick falls into user mode with the probability that it has there; a tenth of a trap looks like
// user time.
PriceTrim learn(const Truth& truth, int windows, uint64_t seed) {
  constexpr double kCpu = 100e6, kTick = 4e6;
  std::mt19937_64 random(seed);
  const auto user_of = [&](double cpu, double share) {
    std::binomial_distribution<int> ticks(static_cast<int>(cpu / kTick), share);
    return static_cast<uint64_t>(ticks(random) * kTick);
  };
  PriceTrim trim;
  for (int at = 0; at < windows; ++at) {
    const double own = kCpu * truth.own_part;
    const double taken = kCpu - own;
    const double user = (own * (1 - truth.system_part) + taken * 0.1) / kCpu;
    const double programs = 0.3 * taken;
    trim.add_open({.cpu_ns = static_cast<uint64_t>(kCpu),
                   .user_ns = user_of(kCpu, user),
                   .traps_ns = static_cast<uint64_t>((taken - programs) / truth.factor),
                   .programs_ns = static_cast<uint64_t>(programs)});
    trim.add_paused({.cpu_ns = static_cast<uint64_t>(10 * kCpu),
                     .user_ns = user_of(10 * kCpu, 1 - truth.system_part),
                     .traps_ns = 0,
                     .programs_ns = 0});
  }
  return trim;
}

}  // namespace

TEST_CASE("price trim: before there is anything to learn from, what was seen of others") {
  PriceTrim trim;
  CHECK(trim.factor() > 1);
  trim.add_open({.cpu_ns = 10'000'000, .user_ns = 0, .traps_ns = 9'000'000, .programs_ns = 0});
  CHECK(trim.factor() == PriceTrim().factor());
  CHECK(trim.standard_error() == PriceTrim().standard_error());
}

TEST_CASE("price trim: learns the price, and says how well") {
  for (const double factor : {0.95, 1.1, 1.4}) {
    for (const double own_part : {0.1, 0.5}) {
      int within = 0;
      for (uint64_t seed = 1; seed <= 200; ++seed) {
        const PriceTrim trim = learn({.factor = factor, .own_part = own_part}, 40, seed);
        within += std::abs(trim.factor() - factor) <= 1.96 * trim.standard_error() ? 1 : 0;
      }
      CAPTURE(factor);
      CAPTURE(own_part);
      CHECK(within >= 185);
    }
  }
}

TEST_CASE("price trim: the target's own time in windows is within what is said") {
  for (const double own_part : {0.1, 0.3, 0.7}) {
    const PriceTrim trim = learn({.factor = 1.25, .own_part = own_part}, 60, 5);
    const CpuSpan all{.cpu_ns = 6'000'000'000,
                      .user_ns = 0,
                      .traps_ns = static_cast<uint64_t>(6e9 * (1 - own_part) * 0.7 / 1.25),
                      .programs_ns = static_cast<uint64_t>(6e9 * (1 - own_part) * 0.3)};
    const double seen = trim.own_ns(all), truth = 6e9 * own_part;
    const PriceTrim::Reach reach = trim.reach();
    CHECK(reach.low <= 1);
    CHECK(reach.high >= 1);
    // Something per own time, told by what was taken for it.
    CHECK(seen / truth >= reach.low);
    CHECK(seen / truth <= reach.high);
  }
}

TEST_CASE("price trim: a target that works in the kernel tells nothing") {
  const PriceTrim trim = learn({.factor = 2, .own_part = 0.5, .system_part = 0.8}, 40, 1);
  CHECK(trim.factor() == PriceTrim().factor());
}

TEST_CASE("price trim: however dear tracing is, the target gets on") {
  const PriceTrim trim;
  CHECK(trim.own_ns({.cpu_ns = 1000, .user_ns = 0, .traps_ns = 5000, .programs_ns = 0}) > 0);
}
