// SPDX-License-Identifier: Apache-2.0
//
// The estimators of windows on made-up programs, where the truth is known: 200 seeded runs of each
// program, every call site estimated with the audit and without; 1,640 runs, some 9,000 estimates
// of each quantity, in 10 s. Times are a quarter of real ones: windows of 25 ms, attached and
// detached in 15.
//
// A 95 % interval that covers by just 0.95 is found to cover less than 0.90 of 200 runs once in
// 500; one that covers 0.85 passes once in 40. The seeds are fixed: what passes once passes always.
//
// Measured: births 0.935 to 1.00; leaks 0.95 to 1.00; live bytes 0.96 to 1.00. Intervals that have
// to allow for what nobody saw cover more than they promise.
#include "model/window_estimate.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "window_simulation.h"

using namespace tidemark;
using test::Lifetime;
using test::SimulatedSite;
using test::Simulation;

namespace {

constexpr int kRuns = 200;
constexpr double kLeastCovered = 0.90;

test::WindowPlan plan_of(double duty, uint64_t window_ms = 25) {
  return {.duty = duty,
          .attach_ns = 2'500'000,
          .detach_ns = 12'500'000,
          .least_window_ns = window_ms * 1'000'000};
}

// What came of one quantity in all runs.
struct Score {
  int runs = 0;
  int covered = 0;
  int above_zero = 0;
  double values = 0;
  double truths = 0;
  double widths = 0;

  void add(const model::Estimate& estimate, double truth) {
    const double slack = 1e-9 * truth;
    ++runs;
    covered += estimate.low <= truth + slack && truth <= estimate.high + slack;
    above_zero += estimate.low > 0;
    values += estimate.value;
    truths += truth;
    widths += estimate.high - estimate.low;
    CHECK(estimate.low <= estimate.value);
    CHECK(estimate.value <= estimate.high);
  }
  [[nodiscard]] double coverage() const { return static_cast<double>(covered) / runs; }
  [[nodiscard]] double bias() const { return values / truths - 1; }
  [[nodiscard]] double width() const { return widths / runs; }
  [[nodiscard]] double known_to_leak() const { return static_cast<double>(above_zero) / runs; }
};

struct Scores {
  Score bytes, births, live, leak;

  void add(const model::SiteEstimate& estimate, const test::SiteTruth& truth) {
    bytes.add(estimate.birth_bytes_per_s, truth.birth_bytes_per_s);
    births.add(estimate.births_per_s, truth.births_per_s);
    live.add(estimate.live_bytes, truth.live_bytes);
    leak.add(estimate.leak_bytes_per_s, truth.leak_bytes_per_s);
  }
};

struct SiteScores {
  std::string name;
  Scores audited, unaudited;
};

using Distort = std::function<void(test::SimulatedRun&)>;

std::vector<SiteScores> try_out(const Simulation& simulation, int runs = kRuns,
                                const Distort& distort = {}) {
  std::vector<SiteScores> scores(simulation.sites.size());
  for (int seed = 1; seed <= runs; ++seed) {
    test::SimulatedRun run = test::simulate(simulation, static_cast<uint64_t>(seed));
    if (distort) distort(run);
    const auto layout = model::WindowLayout::make(run.windows, run.start_ns, run.now_ns);
    REQUIRE_MESSAGE(layout, layout.error().text);
    for (std::size_t site = 0; site < scores.size(); ++site) {
      const test::SimulatedBlocks& blocks = run.sites[site];
      scores[site].name = simulation.sites[site].name;
      scores[site].audited.add(model::estimate_site(*layout, blocks.audited, {}), blocks.truth);
      scores[site].unaudited.add(model::estimate_site(*layout, blocks.unaudited, {}), blocks.truth);
    }
  }
  return scores;
}

std::string figures(const std::string& quantity, const Score& score) {
  return fmt::format(
      "{}: covered {:.3f}, bias {:.3f}, width {:.3f} of the truth, low > 0 in {:.2f}", quantity,
      score.coverage(), score.bias(), score.widths / score.truths, score.known_to_leak());
}

// Of sizes that differ by orders of magnitude, sampled by bytes, the small ones are most of the
// count and hardly ever seen: bytes are covered, the count is not (0.54 measured).
enum class Counts { kCovered, kOfMixedSizes };

void check_coverage(const std::vector<SiteScores>& sites, Counts counts = Counts::kCovered) {
  for (const SiteScores& site : sites) {
    CAPTURE(site.name);
    INFO(figures("births", site.audited.bytes));
    INFO(figures("leak, audited", site.audited.leak));
    INFO(figures("leak", site.unaudited.leak));
    INFO(figures("live, audited", site.audited.live));
    INFO(figures("live", site.unaudited.live));
    CHECK(site.audited.bytes.coverage() >= kLeastCovered);
    if (counts == Counts::kCovered) CHECK(site.audited.births.coverage() >= kLeastCovered);
    CHECK(site.audited.live.coverage() >= kLeastCovered);
    CHECK(site.unaudited.live.coverage() >= kLeastCovered);
    CHECK(site.audited.leak.coverage() >= kLeastCovered);
    CHECK(site.unaudited.leak.coverage() >= kLeastCovered);
    // The audit narrows; on what it tells nothing of, errors between windows may be a trifle
    // larger.
    CHECK(site.audited.leak.width() <= 1.01 * site.unaudited.leak.width());
    CHECK(site.audited.live.width() <= 1.01 * site.unaudited.live.width());
  }
}

// Of the leak rate with the audit. (It is the middle between two bounds: where blocks live about as
// long as a window, or share a busy class with long-lived ones, the middle is no estimate.)
void check_leak_bias(const std::vector<SiteScores>& sites, const std::string& name, double bound) {
  const auto site = std::ranges::find(sites, name, &SiteScores::name);
  REQUIRE(site != sites.end());
  CAPTURE(name);
  CHECK(std::abs(site->audited.leak.bias()) <= bound);
}

Simulation server() {
  return {.name = "server",
          .sites = {{.name = "1 % leaked", .births_per_s = 800, .leaked = 0.01},
                    {.name = "10 % leaked, 16 B",
                     .births_per_s = 150,
                     .least_size = 16,
                     .most_size = 16,
                     .lifetime = Lifetime::kFixed,
                     .lifetime_s = 0.01,
                     .leaked = 0.1},
                    {.name = "bimodal, 5 % leaked",
                     .births_per_s = 200,
                     .least_size = 256,
                     .most_size = 256,
                     .lifetime = Lifetime::kBimodal,
                     .lifetime_s = 1.5,
                     .leaked = 0.05},
                    {.name = "fixed",
                     .births_per_s = 50,
                     .least_size = 80,
                     .most_size = 80,
                     .lifetime = Lifetime::kFixed,
                     .lifetime_s = 1.3},
                    {.name = "exponential",
                     .births_per_s = 150,
                     .least_size = 1000,
                     .most_size = 1000,
                     .lifetime_s = 0.5},
                    {.name = "heavy tail",
                     .births_per_s = 150,
                     .least_size = 128,
                     .most_size = 128,
                     .lifetime = Lifetime::kHeavyTail,
                     .lifetime_s = 2.5}},
          .seconds = 30,
          .plan = plan_of(0.05)};
}

Simulation caches() {
  return {.name = "caches",
          .sites = {{.name = "FIFO cache",
                     .births_per_s = 200,
                     .least_size = 256,
                     .most_size = 256,
                     .lifetime = Lifetime::kFifoCache,
                     .capacity = 400},
                    {.name = "LRU cache",
                     .births_per_s = 200,
                     .least_size = 512,
                     .most_size = 512,
                     .lifetime = Lifetime::kLruCache,
                     .capacity = 150},
                    {.name = "FIFO cache of mapped blocks",
                     .births_per_s = 50,
                     .least_size = 200'000,
                     .most_size = 1'000'000,
                     .lifetime = Lifetime::kFifoCache,
                     .capacity = 100},
                    {.name = "churn", .births_per_s = 500, .least_size = 256, .most_size = 512}},
          .seconds = 15,
          .warm_up_s = 8,
          .plan = plan_of(0.05)};
}

}  // namespace

TEST_CASE("window estimate: covers for all laws of lifetimes, under reuse of addresses") {
  const std::vector<SiteScores> sites = try_out(server());
  check_coverage(sites);
  for (const SiteScores& site : sites) {
    CAPTURE(site.name);
    CHECK(std::abs(site.audited.births.bias()) < 0.03);
  }
  check_leak_bias(sites, "1 % leaked", 0.15);
}

TEST_CASE("window estimate: a bounded cache after warm-up is not known to leak") {
  const std::vector<SiteScores> sites = try_out(caches());
  check_coverage(sites);
  for (const SiteScores& site : sites) {
    CAPTURE(site.name);
    CHECK(site.audited.leak.above_zero == 0);
    CHECK(site.unaudited.leak.above_zero == 0);
  }
}

TEST_CASE("window estimate: bursts") {
  check_coverage(try_out(
      {.name = "bursts",
       .sites =
           {{.name = "leak in bursts", .births_per_s = 400, .leaked = 0.05, .burst_period_s = 1},
            {.name = "long bursts",
             .births_per_s = 400,
             .least_size = 512,
             .most_size = 512,
             .lifetime_s = 0.01,
             .leaked = 0.02,
             .burst_period_s = 4}},
       .seconds = 15,
       .plan = plan_of(0.05)}));
}

TEST_CASE("window estimate: at a duty of 2 %, one leak in a thousand, 16 B to 1 MB") {
  const std::vector<SiteScores> sites =
      try_out({.name = "thin",
               .sites = {{.name = "0.1 % leaked", .births_per_s = 1000, .leaked = 0.001},
                         {.name = "10 % leaked", .births_per_s = 200, .leaked = 0.1},
                         {.name = "16 B to 1 MB, 5 % leaked",
                          .births_per_s = 200,
                          .least_size = 16,
                          .most_size = 1 << 20,
                          .lifetime_s = 0.02,
                          .leaked = 0.05}},
               .seconds = 40,
               .plan = plan_of(0.02)});
  check_coverage(sites);
  check_leak_bias(sites, "10 % leaked", 0.2);
}

TEST_CASE("window estimate: of blocks that are sampled by bytes") {
  check_coverage(try_out({.name = "sampled",
                          .sites = {{.name = "16 B to 1 MB, 5 % leaked",
                                     .births_per_s = 1000,
                                     .least_size = 16,
                                     .most_size = 1 << 20,
                                     .lifetime_s = 0.02,
                                     .leaked = 0.05},
                                    {.name = "1 MB, 1 % leaked",
                                     .births_per_s = 500,
                                     .least_size = 1 << 20,
                                     .most_size = 1 << 20,
                                     .lifetime_s = 0.02,
                                     .leaked = 0.01}},
                          .seconds = 15,
                          .sampling_interval_bytes = 512 << 10,
                          .plan = plan_of(0.05)}),
                 Counts::kOfMixedSizes);
}

TEST_CASE("window estimate: addresses that leaks take over do not make their former blocks leaks") {
  // A freed block's address goes to a leak, and stays; one in fifty has the same content by chance.
  const std::vector<SiteScores> sites =
      try_out({.name = "refilled",
               .sites = {{.name = "freed", .births_per_s = 400, .lifetime_s = 0.3},
                         {.name = "leaked", .births_per_s = 300, .leaked = 1}},
               .seconds = 15,
               .plan = plan_of(0.2)});
  check_coverage(sites);
  CHECK(sites[0].audited.leak.known_to_leak() <= 0.05);
  CHECK(sites[0].unaudited.leak.known_to_leak() <= 0.05);
}

TEST_CASE("window estimate: windows that see all ages bound a leak without an audit") {
  const std::vector<SiteScores> sites =
      try_out({.name = "long",
               .sites = {{.name = "10 % leaked", .births_per_s = 200, .leaked = 0.1},
                         {.name = "mapped blocks, 50 % leaked",
                          .births_per_s = 60,
                          .least_size = 200'000,
                          .most_size = 200'000,
                          .lifetime_s = 2.5,
                          .leaked = 0.5},
                         // So few that no death of theirs may have been seen.
                         {.name = "few mapped blocks, fixed",
                          .births_per_s = 0.7,
                          .least_size = 200'000,
                          .most_size = 200'000,
                          .lifetime = Lifetime::kFixed,
                          .lifetime_s = 20}},
               .seconds = 250,
               .plan = plan_of(0.1, 75)});
  check_coverage(sites);
  check_leak_bias(sites, "10 % leaked", 0.06);
  check_leak_bias(sites, "mapped blocks, 50 % leaked", 0.06);
  CHECK(sites[0].unaudited.leak.known_to_leak() > 0.3);
  CHECK(sites[1].unaudited.leak.known_to_leak() > 0.3);
  CHECK(sites[2].unaudited.leak.known_to_leak() <= 0.05);
}

TEST_CASE("window estimate: errors that are planted are found") {
  const Simulation leaking{.name = "leaking",
                           .sites = {{.name = "20 % leaked", .births_per_s = 1000, .leaked = 0.2}},
                           .seconds = 15,
                           .plan = plan_of(0.2)};
  const std::vector<SiteScores> right = try_out(leaking, 60);
  check_coverage(right);
  // Windows said to be half as long again: exposures are wrong.
  const std::vector<SiteScores> longer = try_out(leaking, 60, [](test::SimulatedRun& run) {
    for (model::Window& window : run.windows)
      window.start_ns -= (window.end_ns - window.start_ns) / 2;
  });
  CHECK(longer[0].audited.bytes.coverage() < 0.5);
  CHECK(longer[0].audited.births.coverage() < 0.5);
  // An audit that calls two of three live blocks dead.
  const std::vector<SiteScores> deadly = try_out(leaking, 60, [](test::SimulatedRun& run) {
    for (std::size_t at = 0; at < run.sites[0].audited.size(); ++at) {
      if (at % 3 == 0) continue;
      model::BlockHistory& block = run.sites[0].audited[at];
      block = run.sites[0].unaudited[at];
      block.see_audit(model::AuditVerdict::kDead, block.alive_until_ns() + 1);
    }
  });
  CHECK(deadly[0].audited.leak.coverage() < 0.5);
  CHECK(deadly[0].audited.live.coverage() < 0.5);
  // Frees that were seen, and not told.
  const std::vector<SiteScores> deaf = try_out(leaking, 60, [](test::SimulatedRun& run) {
    for (model::BlockHistory& block : run.sites[0].audited) {
      if (!block.free_seen_ns()) continue;
      model::BlockHistory unfreed(block.birth_ns(), block.weight());
      unfreed.see_audit(model::AuditVerdict::kUnchanged, run.now_ns);
      block = unfreed;
    }
  });
  CHECK(deaf[0].audited.leak.coverage() < 0.5);
  CHECK(deaf[0].audited.live.coverage() < 0.5);
}

TEST_CASE("window estimate: survival, where deaths are seen and where they are not") {
  // Four windows of 100 ms; blocks live 10 ms or for ever, half and half.
  const uint64_t ms = 1'000'000;
  std::vector<model::Window> windows;
  for (const uint64_t start : {0, 200, 450, 900})
    windows.push_back({.start_ns = start * ms, .end_ns = (start + 100) * ms});
  const auto layout = model::WindowLayout::make(windows, 0, 1000 * ms);
  REQUIRE(layout);
  std::vector<model::BlockHistory> blocks;
  for (const model::Window& window : windows) {
    for (uint64_t at = 0; at < 100; ++at) {
      model::BlockHistory block(window.start_ns + at * ms,
                                {.bytes = 10, .count = 1, .variance = 0});
      if (at % 2 == 0 && at < 90) block.see_free(block.birth_ns() + 10 * ms, window);
      block.see_window_end(window);
      blocks.push_back(block);
    }
  }
  // Of no window: passed over.
  blocks.emplace_back(150 * ms, model::SampleWeight{.bytes = 1e9, .count = 1, .variance = 0});

  const model::SiteEstimate estimate = model::estimate_site(*layout, blocks, {});
  CHECK(estimate.births_per_s.value == doctest::Approx(1000));
  CHECK(estimate.birth_bytes_per_s.value == doctest::Approx(10'000));
  REQUIRE(estimate.survival.size() > 5);
  for (const model::SurvivalPoint& point : estimate.survival) {
    CAPTURE(point.age_ns);
    // 75 of 100 births are of the cohort, 38 of them die.
    const double truth = point.age_ns < 10 * ms ? 1.0 : 37.0 / 75;
    CHECK(point.share.high >= truth);
    CHECK(point.share.low <= truth);
    if (point.age_ns <= 25 * ms) CHECK(point.share.value == doctest::Approx(truth));
    // Not followed so far, no window sees such ages: nothing is known to live on.
    if (point.age_ns > 150 * ms) CHECK(point.share.low == 0);
  }
  CHECK(estimate.leak_bytes_per_s.low == 0);
  CHECK(estimate.leak_bytes_per_s.high >= 10'000 * 37.0 / 75);

  // With an audit that finds the rest unchanged, they are known to be there.
  for (model::BlockHistory& block : blocks)
    block.see_audit(model::AuditVerdict::kUnchanged, layout->now_ns());
  const model::SiteEstimate audited = model::estimate_site(*layout, blocks, {});
  CHECK(audited.leak_bytes_per_s.value == doctest::Approx(10'000 * 37.0 / 75).epsilon(0.01));
  CHECK(audited.leak_bytes_per_s.low > 1000);
  // Had they changed, for nothing else being known, they may be others.
  for (model::BlockHistory& block : blocks) {
    model::BlockHistory changed(block.birth_ns(), block.weight());
    changed.see_audit(model::AuditVerdict::kChanged, layout->now_ns());
    block = changed;
  }
  CHECK(model::estimate_site(*layout, blocks, {}).leak_bytes_per_s.low == 0);
}

TEST_CASE("window estimate: a site that no window saw is not known to allocate nothing") {
  const auto layout = model::WindowLayout::make({{0, 100}, {400, 500}, {600, 700}}, 0, 1000);
  REQUIRE(layout);
  const model::SiteEstimate none = model::estimate_site(*layout, {}, {});
  CHECK(none.births_per_s.value == 0);
  CHECK(none.leak_bytes_per_s.low == 0);
  CHECK(none.survival.empty());
}
