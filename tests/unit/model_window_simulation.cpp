// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <queue>
#include <random>
#include <utility>

#include "model/sampling.h"
#include "window_simulation.h"

namespace tidemark::test {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();
constexpr double kNs = 1e9;
constexpr uint64_t kMapped = 128 << 10;
constexpr double kDeadFound = 0.999;
constexpr double kSameByChance = 0.02;
constexpr int kLruCandidates = 5;
constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

struct Block {
  std::size_t site = 0;
  uint64_t size = 0;
  double birth = 0;  // seconds since the trace began
  double death = kForever;
  std::size_t address = 0;
};

// A block that was recorded.
struct Tracked {
  std::size_t block;
  std::size_t window;
  bool changes;
  model::BlockHistory audited;
  model::BlockHistory unaudited;
};

struct Cell {
  std::size_t owner = kNone;    // the live block
  std::size_t tracked = kNone;  // the recorded block whose fate is open
};

class Allocator {
 public:
  std::size_t allocate(uint64_t size) {
    std::vector<std::size_t>& list = free_[size_class(size)];
    if (size >= kMapped || list.empty()) {
      cells_.emplace_back();
      return cells_.size() - 1;
    }
    const std::size_t address = list.back();
    list.pop_back();
    return address;
  }
  void release(std::size_t address, uint64_t size) {
    if (size < kMapped) free_[size_class(size)].push_back(address);
  }
  Cell& at(std::size_t address) { return cells_[address]; }

 private:
  static uint64_t size_class(uint64_t size) {
    if (size <= 1024) return (size + 8 + 15) / 16;
    return 100 + static_cast<uint64_t>(std::log2(static_cast<double>(size)) * 8);
  }
  std::vector<Cell> cells_;
  std::map<uint64_t, std::vector<std::size_t>> free_;
};

class Program {
 public:
  Program(const Simulation& simulation, uint64_t seed)
      : simulation_(simulation),
        random_(seed * 2654435761u + 17),
        caches_(simulation.sites.size()),
        oldest_(simulation.sites.size()) {
    test::WindowPlan plan = simulation.plan;
    plan.seed = seed * 31 + 7;
    windows_ = test::plan_windows(plan, start_ns(), ns(simulation.seconds));
    for (std::size_t site = 0; site < simulation.sites.size(); ++site)
      births_.emplace(-simulation.warm_up_s + gap(site), site);
  }

  SimulatedRun run();

 private:
  struct CacheEntry {
    std::size_t block;
    double used;
  };
  using Event = std::pair<double, std::size_t>;
  using Queue = std::priority_queue<Event, std::vector<Event>, std::greater<>>;

  // A second on the clock for each one of warming up, so that no time is negative.
  [[nodiscard]] uint64_t start_ns() const {
    return static_cast<uint64_t>(simulation_.warm_up_s * kNs);
  }
  [[nodiscard]] uint64_t ns(double at) const {
    return static_cast<uint64_t>((at + simulation_.warm_up_s) * kNs);
  }
  double uniform() { return std::uniform_real_distribution<>()(random_); }
  double gap(std::size_t site) {
    const SimulatedSite& of = simulation_.sites[site];
    const double peak = of.burst_period_s > 0 ? 1.8 : 1;
    return std::exponential_distribution<>(of.births_per_s * peak)(random_);
  }
  [[nodiscard]] bool in_window() const { return window_ < windows_.size() && attached_; }

  void bear(double now, std::size_t site);
  void record(double now, std::size_t id);
  void let_go(double now, std::size_t id);
  void put_into_cache(double now, std::size_t site, std::size_t id);
  void pass_edge();
  void audit_all(uint64_t at);
  model::AuditVerdict audit(const Tracked& tracked, uint64_t at);
  double draw_lifetime(const SimulatedSite& site);
  uint64_t draw_size(const SimulatedSite& site);
  bool quiet_half(double now, const SimulatedSite& site);
  void tell_truth(SimulatedRun& run) const;

  const Simulation& simulation_;
  std::mt19937_64 random_;
  Allocator allocator_;
  std::vector<Block> blocks_;
  std::vector<Tracked> tracked_;
  std::vector<std::vector<CacheEntry>> caches_;
  std::vector<std::size_t> oldest_;  // of a FIFO cache, the place of the next victim
  Queue births_;
  Queue deaths_;
  std::vector<model::Window> windows_;
  std::size_t window_ = 0;
  bool attached_ = false;
};

double Program::draw_lifetime(const SimulatedSite& site) {
  if (uniform() < site.leaked) return kForever;
  switch (site.lifetime) {
    case Lifetime::kExponential:
      return -site.lifetime_s * std::log1p(-uniform());
    case Lifetime::kFixed:
      return site.lifetime_s;
    case Lifetime::kBimodal:
      return site.lifetime_s * (uniform() < 0.9 ? 0.001 : 1) * (0.9 + 0.2 * uniform());
    case Lifetime::kHeavyTail:
      return site.lifetime_s * 0.001 * std::pow(1 - uniform(), -1 / 1.1);
    case Lifetime::kFifoCache:
    case Lifetime::kLruCache:
      break;
  }
  return kForever;
}

uint64_t Program::draw_size(const SimulatedSite& site) {
  if (site.least_size == site.most_size) return site.least_size;
  const double ratio = static_cast<double>(site.most_size) / static_cast<double>(site.least_size);
  return static_cast<uint64_t>(static_cast<double>(site.least_size) * std::pow(ratio, uniform()));
}

bool Program::quiet_half(double now, const SimulatedSite& site) {
  if (site.burst_period_s <= 0) return false;
  const double phase = now / site.burst_period_s;
  return phase - std::floor(phase) < 0.5;
}

void Program::bear(double now, std::size_t site) {
  const SimulatedSite& of = simulation_.sites[site];
  births_.emplace(now + gap(site), site);
  if (quiet_half(now, of) && uniform() >= 0.2 / 1.8) return;
  const uint64_t size = draw_size(of);
  const std::size_t address = allocator_.allocate(size);
  const std::size_t id = blocks_.size();
  blocks_.push_back({.site = site, .size = size, .birth = now, .address = address});
  Cell& cell = allocator_.at(address);
  cell.owner = id;
  if (in_window()) {
    if (cell.tracked != kNone) {
      tracked_[cell.tracked].audited.see_allocation(ns(now));
      tracked_[cell.tracked].unaudited.see_allocation(ns(now));
      cell.tracked = kNone;
    }
    record(now, id);
  }
  if (of.capacity > 0) {
    put_into_cache(now, site, id);
    return;
  }
  const double lifetime = draw_lifetime(of);
  if (lifetime < kForever) deaths_.emplace(now + lifetime, id);
}

void Program::record(double now, std::size_t id) {
  const uint64_t interval = simulation_.sampling_interval_bytes;
  const Block& block = blocks_[id];
  const double length =
      interval == 0 ? kForever : static_cast<double>(block.size) / static_cast<double>(interval);
  if (uniform() >= -std::expm1(-length)) return;
  const model::BlockHistory history(ns(now), model::weigh_sample(block.size, interval));
  allocator_.at(block.address).tracked = tracked_.size();
  tracked_.push_back({.block = id,
                      .window = window_,
                      .changes = uniform() < simulation_.sites[block.site].changing,
                      .audited = history,
                      .unaudited = history});
}

void Program::let_go(double now, std::size_t id) {
  Block& block = blocks_[id];
  block.death = now;
  Cell& cell = allocator_.at(block.address);
  cell.owner = kNone;
  allocator_.release(block.address, block.size);
  if (!in_window() || cell.tracked == kNone) return;
  tracked_[cell.tracked].audited.see_free(ns(now), windows_[window_]);
  tracked_[cell.tracked].unaudited.see_free(ns(now), windows_[window_]);
  cell.tracked = kNone;
}

void Program::put_into_cache(double now, std::size_t site, std::size_t id) {
  const SimulatedSite& of = simulation_.sites[site];
  std::vector<CacheEntry>& cache = caches_[site];
  const auto any = [&] {
    return static_cast<std::size_t>(uniform() * static_cast<double>(cache.size()));
  };
  if (cache.size() < of.capacity) {
    cache.push_back({id, now});
    return;
  }
  std::size_t victim = oldest_[site];
  oldest_[site] = (victim + 1) % of.capacity;
  if (of.lifetime == Lifetime::kLruCache) {
    cache[any()].used = now;
    victim = any();
    for (int look = 1; look < kLruCandidates; ++look) {
      const std::size_t other = any();
      if (cache[other].used < cache[victim].used) victim = other;
    }
  }
  let_go(now, cache[victim].block);
  cache[victim] = {id, now};
}

void Program::pass_edge() {
  const model::Window& window = windows_[window_];
  if (!attached_) {
    audit_all(window.start_ns);
    attached_ = true;
    return;
  }
  for (Tracked& tracked : tracked_) {
    tracked.audited.see_window_end(window);
    if (tracked.window == window_) tracked.unaudited.see_window_end(window);
  }
  attached_ = false;
  ++window_;
}

void Program::audit_all(uint64_t at) {
  for (Tracked& tracked : tracked_)
    if (!tracked.audited.dead_by_ns()) tracked.audited.see_audit(audit(tracked, at), at);
}

model::AuditVerdict Program::audit(const Tracked& tracked, uint64_t at) {
  const Block& block = blocks_[tracked.block];
  if (block.death == kForever) {
    const bool changed = tracked.changes && at > tracked.audited.birth_ns() + 1'000'000'000;
    return changed ? model::AuditVerdict::kChanged : model::AuditVerdict::kUnchanged;
  }
  const std::size_t owner = allocator_.at(block.address).owner;
  // The same draw at every audit of the same two blocks.
  std::minstd_rand draw(static_cast<uint32_t>(tracked.block * 7919 + owner * 104729 + 1));
  draw.discard(3);
  const double share = std::uniform_real_distribution<>()(draw);
  if (owner == kNone)
    return share < kDeadFound ? model::AuditVerdict::kDead : model::AuditVerdict::kChanged;
  return share < kSameByChance ? model::AuditVerdict::kUnchanged : model::AuditVerdict::kChanged;
}

SimulatedRun Program::run() {
  while (true) {
    const double birth = births_.top().first;
    const double death = deaths_.empty() ? kForever : deaths_.top().first;
    const double now = std::min(birth, death);
    const bool over = now >= simulation_.seconds;
    const uint64_t until = over ? ns(simulation_.seconds) : ns(now);
    while (window_ < windows_.size() &&
           (attached_ ? windows_[window_].end_ns : windows_[window_].start_ns) <= until)
      pass_edge();
    if (over) break;
    if (death <= birth) {
      const std::size_t id = deaths_.top().second;
      deaths_.pop();
      let_go(now, id);
    } else {
      const std::size_t site = births_.top().second;
      births_.pop();
      bear(now, site);
    }
  }
  SimulatedRun run{
      .windows = windows_, .start_ns = start_ns(), .now_ns = ns(simulation_.seconds), .sites = {}};
  audit_all(run.now_ns);
  run.sites.resize(simulation_.sites.size());
  for (const Tracked& tracked : tracked_) {
    SimulatedBlocks& site = run.sites[blocks_[tracked.block].site];
    site.audited.push_back(tracked.audited);
    site.unaudited.push_back(tracked.unaudited);
  }
  tell_truth(run);
  return run;
}

void Program::tell_truth(SimulatedRun& run) const {
  const double length = simulation_.seconds, half = length / 2;
  for (const Block& block : blocks_) {
    if (block.birth < 0) continue;
    SiteTruth& truth = run.sites[block.site].truth;
    const auto bytes = static_cast<double>(block.size);
    truth.birth_bytes_per_s += bytes / length;
    truth.births_per_s += 1 / length;
    const double lived = std::min(block.death, length) - block.birth;
    // The rate of blocks that get older than a, over births that are old enough: summed over a.
    truth.live_bytes += bytes * -std::log1p(-std::min(lived, half) / length);
    if (block.birth > half) continue;
    if (block.death == kForever) truth.live_bytes += bytes;
    if (lived > half) truth.leak_bytes_per_s += bytes / half;
  }
}

}  // namespace

SimulatedRun simulate(const Simulation& simulation, uint64_t seed) {
  return Program(simulation, seed).run();
}

}  // namespace tidemark::test
