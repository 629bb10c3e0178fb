// SPDX-License-Identifier: Apache-2.0
//
// Estimates in place of sums, where a trace was paused.
#include "collect/window_figures.h"

#include <doctest/doctest.h>

using namespace tidemark;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;

// Ten bytes a microsecond, none of which is ever freed, seen in one tenth of a second each second.
model::Snapshot leaking(std::size_t windows) {
  model::Snapshot snapshot;
  snapshot.started_ns = 1;
  snapshot.taken_ns = (windows + 1) * kSecond;
  model::WindowFacts facts;
  facts.began_ns = kSecond;
  model::CallSite site;
  site.kind = model::Kind::kHeap;
  site.windowed.emplace();
  site.windowed->earlier_live_bytes = 1000;
  site.windowed->earlier_total_bytes = 5000;
  for (std::size_t at = 1; at <= windows; ++at) {
    const uint64_t start = at * kSecond + (at * 377 % 800) * 1'000'000;
    const model::Window window{start, start + kSecond / 10};
    facts.windows.push_back(window);
    for (uint64_t birth = start; birth < window.end_ns; birth += 1'000'000) {
      model::BlockHistory history(birth, {.bytes = 10'000, .count = 1, .variance = 0});
      history.see_window_end(window);
      history.see_audit(model::AuditVerdict::kUnchanged, snapshot.taken_ns);
      site.histories.push_back(history);
    }
  }
  snapshot.windows = facts;
  snapshot.call_sites.push_back(site);
  return snapshot;
}

}  // namespace

TEST_CASE("window figures: nothing happens to a trace without pauses") {
  model::Snapshot snapshot;
  snapshot.call_sites.emplace_back().total_bytes = 7;
  collect::estimate_windows(snapshot);
  CHECK(snapshot.call_sites[0].total_bytes == 7);
  CHECK_FALSE(snapshot.call_sites[0].windowed);
}

TEST_CASE("window figures: too few windows are said to be") {
  model::Snapshot snapshot = leaking(1);
  collect::estimate_windows(snapshot);
  CHECK_FALSE(snapshot.windows->too_few.empty());
  CHECK_FALSE(snapshot.call_sites[0].windowed);
}

TEST_CASE("window figures: what leaks is live, and in the interval") {
  model::Snapshot snapshot = leaking(40);
  collect::estimate_windows(snapshot);
  CHECK(snapshot.windows->too_few.empty());
  const model::CallSite& site = snapshot.call_sites[0];
  REQUIRE(site.windowed);
  // 10 MB/s for 40 s, and what was there before.
  const double truth = 40 * 10e6;
  const model::Estimate& live = site.windowed->estimate.live_bytes;
  CHECK(live.low <= truth);
  CHECK(live.high >= truth);
  CHECK(static_cast<double>(site.live_bytes()) == doctest::Approx(truth).epsilon(0.1));
  CHECK(site.total_bytes >= site.live_bytes());
  CHECK(static_cast<double>(site.total_bytes) == doctest::Approx(truth + 5000).epsilon(0.1));
  CHECK(site.windowed->live_error_bytes() >= 1000);
  CHECK(site.windowed->estimate.leak_bytes_per_s.low > 0);
}

// In the windows before it came nothing of it could be seen.
TEST_CASE("window figures: who joined late is estimated from then on") {
  model::Snapshot snapshot = leaking(40);
  const uint64_t joined_ns = 21 * kSecond;
  model::Target& target = snapshot.targets.emplace_back();
  target.generation = model::Generation{3};
  target.joined_ns = joined_ns;
  model::CallSite& site = snapshot.call_sites[0];
  site.owner = model::Generation{3};
  std::erase_if(site.histories,
                [&](const model::BlockHistory& history) { return history.birth_ns() < joined_ns; });
  collect::estimate_windows(snapshot);
  REQUIRE(site.windowed);
  const model::SiteEstimate& estimate = site.windowed->estimate;
  CHECK(estimate.birth_bytes_per_s.low <= 10e6);
  CHECK(estimate.birth_bytes_per_s.high >= 10e6);
  CHECK(estimate.leak_bytes_per_s.low > 5e6);
  CHECK(estimate.leak_bytes_per_s.high >= 10e6);
}

TEST_CASE("window figures: who has just joined has no estimates yet") {
  model::Snapshot snapshot = leaking(40);
  model::Target& target = snapshot.targets.emplace_back();
  target.generation = model::Generation{3};
  target.joined_ns = 40 * kSecond;
  snapshot.call_sites[0].owner = model::Generation{3};
  collect::estimate_windows(snapshot);
  CHECK(snapshot.windows->too_few.empty());
  CHECK_FALSE(snapshot.call_sites[0].windowed);
}
