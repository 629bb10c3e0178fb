// SPDX-License-Identifier: Apache-2.0
#include "collect/growth_collector.h"

#include <algorithm>
#include <set>
#include <utility>

namespace tidemark::collect {
namespace {

// Between two looks: sooner at first, so that a short trace has a trend, too.
constexpr uint64_t kSoonNs = 500'000'000;
constexpr uint64_t kLaterNs = 2'000'000'000;
constexpr uint64_t kBeginningNs = 10'000'000'000;
// Of one CPU, that looks may take.
constexpr double kShareOfLooks = 0.01;
// And what is read of the code of those who grow: a large program must not hold up the looks.
constexpr double kShareOfCode = 0.005;
constexpr std::size_t kMostEndedNames = 1000;

}  // namespace

GrowthCollector::GrowthCollector(std::unique_ptr<sources::ResidentGrowth> source,
                                 GrowthReaders readers, GrowthListener listener,
                                 uint64_t resident_error_bytes)
    : source_(std::move(source)),
      readers_(std::move(readers)),
      listener_(std::move(listener)),
      resident_error_bytes_(resident_error_bytes),
      pace_of_looks_(kShareOfLooks),
      pace_of_code_(kShareOfCode) {}

Status GrowthCollector::open_gate(MonotonicTime now, WallTime wall) {
  started_ = looked_ = now;
  started_wall_ = wall;
  source_->open_gate();
  for (const model::Pid pid : readers_.pids()) meet(pid, now);
  return {};
}

// One that was there when the trace began. A kernel thread has no sizes.
void GrowthCollector::meet(model::Pid pid, MonotonicTime now) {
  const auto sizes = readers_.sizes(pid);
  if (!sizes) return;
  Watched& watched = watched_[pid];
  watched.comm = readers_.comm(pid);
  watched.since_ns = now.ns;
  watched.first = watched.last = *sizes;
  watched.first_faults = readers_.faults(pid);
  watched.series.add(now.ns, sizes->kept_bytes());
}

Result<bool> GrowthCollector::tick(MonotonicTime now) {
  const uint64_t pause = now.ns - started_.ns < kBeginningNs ? kSoonNs : kLaterNs;
  if (now.ns - looked_.ns < pause || !pace_of_looks_.is_due(now.ns)) return false;
  const CpuTime begun = thread_cpu_now();
  if (auto looked = look(now); !looked) return std::unexpected(looked.error());
  const CpuTime looks_done = thread_cpu_now();
  pace_of_looks_.done(now.ns, looks_done.ns - begun.ns);
  if (!pace_of_code_.is_due(now.ns)) return true;
  learn_code(source_->book().wanted(now.ns));
  pace_of_code_.done(now.ns, thread_cpu_now().ns - looks_done.ns);
  return true;
}

Status GrowthCollector::look(MonotonicTime now) {
  looked_ = now;
  if (auto served = source_->serve(); !served) return served;
  const auto rows = source_->rows();
  if (!rows) return std::unexpected(rows.error());
  const std::vector<model::Pid> pids = readers_.pids();
  const std::set<model::Pid> running(pids.begin(), pids.end());
  // First, since who came and went between two looks is known by its row alone.
  if (*rows) hear(**rows);
  std::erase_if(watched_, [&](const auto& entry) {
    const auto& [pid, watched] = entry;
    if (running.contains(pid)) return false;
    if (watched.row) end_of(*watched.row);
    return true;
  });
  for (const model::Pid pid : pids) {
    auto found = watched_.find(pid);
    if (found == watched_.end()) {
      // Where the kernel tells who grows, the others have nothing to be looked at for.
      if (*rows) continue;
      meet(pid, now);
      found = watched_.find(pid);
      if (found == watched_.end()) continue;
      found->second.started_meanwhile = true;
      found->second.first = {};
    }
    measure(pid, found->second, *rows ? Telling::kChanges : Telling::kNothing, now);
  }
  return {};
}

void GrowthCollector::hear(const std::vector<sources::GrowthRow>& rows) {
  for (const sources::GrowthRow& row : rows) {
    const model::Pid pid{static_cast<int32_t>(row.identity.tgid)};
    const auto [found, is_new] = watched_.try_emplace(pid);
    Watched& watched = found->second;
    const bool same_process =
        !watched.row || watched.row->identity.started_boot_ns == row.identity.started_boot_ns;
    if (watched.row && watched.row->identity != row.identity) {
      end_of(*watched.row);
      // Another program, or another process of that number: what it was tells nothing of it.
      watched.series = {};
      watched.looked_at_events = 0;
    }
    if (is_new || !same_process) {
      watched = {};
      watched.started_meanwhile = true;
      watched.since_ns = looked_.ns;
    }
    watched.comm = row.comm;
    watched.row = row;
  }
}

// A row of the kernel's whose address space is gone.
void GrowthCollector::end_of(const sources::GrowthRow& row) {
  source_->book().end(row.identity);
  source_->erase(row.identity);
  if (ended_.size() >= kMostEndedNames && !ended_.contains(row.comm)) return;
  model::EndedProcesses& ended = ended_[row.comm];
  ended.comm = row.comm;
  ended.count += 1;
  ended.touched_bytes += row.touched_bytes;
}

// A size that nobody changed is what it was. What was swapped out by others is not told.
void GrowthCollector::measure(model::Pid pid, Watched& watched, Telling telling,
                              MonotonicTime now) {
  const uint64_t events = watched.row ? watched.row->events : 0;
  if (telling == Telling::kNothing || events != watched.looked_at_events) {
    const auto sizes = readers_.sizes(pid);
    if (sizes) watched.last = *sizes;
  }
  watched.looked_at_events = events;
  watched.series.add(now.ns, watched.last.kept_bytes());
}

// One that cannot be read has ended, or will not be named: its samples wait no longer.
void GrowthCollector::learn_code(std::span<const sources::GrowthBook::Running> processes) {
  for (const auto& [owner, identity] : processes) {
    const auto image = readers_.process(model::Pid{static_cast<int32_t>(identity.tgid)});
    if (!image) {
      source_->book().end(identity);
      continue;
    }
    listener_(owner, *image);
    owners_[owner] = {owner, image->pid, image->comm, true};
    source_->learn(owner, *image);
  }
}

void GrowthCollector::settle_pages() {
  sources::GrowthBook& book = source_->book();
  for (const auto& [owner, identity] : book.running()) {
    const std::vector<model::Address> touched = book.touched(owner);
    if (touched.empty()) continue;
    const auto kept = readers_.kept(model::Pid{static_cast<int32_t>(identity.tgid)}, touched);
    if (kept) book.settle(owner, *kept);
  }
}

model::GrowthProcess GrowthCollector::describe(model::Pid pid, const Watched& watched,
                                               MonotonicTime now) const {
  model::GrowthProcess process;
  process.pid = pid;
  process.comm = watched.comm;
  process.started_meanwhile = watched.started_meanwhile;
  process.watched_ns = now.ns - std::min(now.ns, watched.since_ns);
  process.first = watched.first;
  process.last = watched.last;
  process.faults = readers_.faults(pid);
  if (process.faults && watched.first_faults) {
    process.faults->minor -= std::min(process.faults->minor, watched.first_faults->minor);
    process.faults->major -= std::min(process.faults->major, watched.first_faults->major);
  }
  process.trend = watched.series.trend();
  if (!watched.row) return process;
  process.owner = source_->book().owner_of(watched.row->identity).value_or(model::Generation{});
  process.touched_bytes = watched.row->touched_bytes;
  process.heap_growth_bytes = watched.row->heap_growth_bytes;
  process.private_growth_bytes = watched.row->private_growth_bytes;
  return process;
}

// Of the call sites that there are; what else was known is forgotten.
void GrowthCollector::list_owners(model::GrowthSnapshot& snapshot) {
  std::set<model::Generation> running;
  for (const auto& [owner, identity] : source_->book().running()) running.insert(owner);
  std::set<model::Generation> wanted;
  for (const model::GrowthSite& site : snapshot.call_sites) wanted.insert(site.owner);
  for (auto& [generation, owner] : owners_) {
    owner.alive = running.contains(generation);
    if (wanted.contains(generation)) snapshot.owners.push_back(owner);
  }
  std::erase_if(owners_, [&](const auto& entry) {
    return !entry.second.alive && !wanted.contains(entry.first);
  });
}

Result<model::GrowthSnapshot> GrowthCollector::snapshot(MonotonicTime now) {
  if (auto looked = look(now); !looked) return std::unexpected(looked.error());
  learn_code(source_->book().wanted_now());
  settle_pages();
  model::GrowthSnapshot snapshot;
  snapshot.started_ns = started_.ns;
  snapshot.taken_ns = now.ns;
  snapshot.started_unix_ns = started_wall_.unix_ns;
  snapshot.processes_watched = watched_.size();
  snapshot.resident_error_bytes = resident_error_bytes_;
  for (const auto& [pid, watched] : watched_) {
    if (watched.row || watched.last != watched.first)
      snapshot.processes.push_back(describe(pid, watched, now));
  }
  std::ranges::sort(snapshot.processes, std::ranges::greater(),
                    &model::GrowthProcess::growth_bytes);
  for (const auto& [comm, ended] : ended_) snapshot.ended.push_back(ended);
  std::ranges::sort(snapshot.ended, std::ranges::greater(), &model::EndedProcesses::touched_bytes);
  source_->book().collect(snapshot.call_sites, snapshot.stacks);
  list_owners(snapshot);
  auto counters = source_->counters();
  if (!counters) return std::unexpected(counters.error());
  snapshot.counters = std::move(*counters);
  snapshot.coverage = source_->coverage();
  return snapshot;
}

std::vector<GrowthCollector::Grower> GrowthCollector::growers() const {
  std::vector<Grower> growers;
  for (const auto& [pid, watched] : watched_) {
    if (!watched.series.has_grown()) continue;
    const auto trend = watched.series.trend();
    if (trend && trend->steady) growers.push_back({pid, watched.comm, *trend});
  }
  std::ranges::sort(growers, std::ranges::greater(),
                    [](const Grower& grower) { return grower.trend.bytes_per_s; });
  return growers;
}

bool GrowthCollector::still_grows(model::Pid pid) const {
  const auto watched = watched_.find(pid);
  if (watched == watched_.end()) return false;
  const auto trend = watched->second.series.trend();
  return trend && trend->steady;
}

}  // namespace tidemark::collect
