// SPDX-License-Identifier: Apache-2.0
//
// A program, its allocator, windows and audits, made up: what the estimators are tried on. All that
// tidemark would see comes out as histories, with the audit and without; the truth beside it.
//
// The allocator gives freed addresses out again, last in first out, per size class and whoever
// asks, as glibc's thread caches do; blocks from 128 KiB on are mapped and have addresses of their
// own. So most frees that a later window sees at an address of a busy class are of another block.
//
// The audit is as good as it was measured: a free chunk is DEAD (99.9 %, the rest looks changed), a
// reused one looks allocated and shows the same content by chance (2 %; measured 0.03 to 3.4 %), a
// live one never looks dead, and `changing` of them have changed content after a second.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/block_history.h"
#include "model/windows.h"
#include "window_plan.h"

namespace tidemark::test {

enum class Lifetime {
  kExponential,
  kFixed,
  kBimodal,    // nine of ten a thousandth of it
  kHeavyTail,  // Pareto with exponent 1.1 from a thousandth of it on
  kFifoCache,  // `capacity` blocks, the oldest one goes
  kLruCache,   // the one that was not used for longest, of five (as Redis does)
};

struct SimulatedSite {
  const char* name;
  double births_per_s = 0;
  uint64_t least_size = 64;
  uint64_t most_size = 64;  // sizes' logarithms are uniform
  Lifetime lifetime = Lifetime::kExponential;
  double lifetime_s = 0.0015;
  double leaked = 0;  // share of births that are never freed
  std::size_t capacity = 0;
  double burst_period_s = 0;  // 0.2 of the rate in one half of it, 1.8 in the other
  double changing = 0.1;
};

struct Simulation {
  const char* name;
  std::vector<SimulatedSite> sites;
  double seconds = 60;
  double warm_up_s = 0;  // before the trace
  uint64_t sampling_interval_bytes = 0;
  test::WindowPlan plan;
};

// Of what was born since the trace began. Leaked: got older than half of the trace.
struct SiteTruth {
  double birth_bytes_per_s = 0;
  double births_per_s = 0;
  double live_bytes = 0;
  double leak_bytes_per_s = 0;
};

struct SimulatedBlocks {
  SiteTruth truth;
  std::vector<model::BlockHistory> audited;
  std::vector<model::BlockHistory> unaudited;
};

struct SimulatedRun {
  std::vector<model::Window> windows;
  uint64_t start_ns = 0;
  uint64_t now_ns = 0;
  std::vector<SimulatedBlocks> sites;
};

[[nodiscard]] SimulatedRun simulate(const Simulation& simulation, uint64_t seed);

}  // namespace tidemark::test
