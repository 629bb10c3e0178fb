// SPDX-License-Identifier: Apache-2.0
#include "collect/collector.h"

#include <algorithm>

namespace tidemark::collect {
namespace {

using Life = sources::GenerationState::Life;

template <typename T>
void append(std::vector<T>& into, std::vector<T> from) {
  std::ranges::move(from, std::back_inserter(into));
}

}  // namespace

Collector::Collector(std::vector<std::unique_ptr<sources::Source>> sources, Readers readers,
                     ImageListener listener)
    : sources_(std::move(sources)), readers_(std::move(readers)), listener_(std::move(listener)) {}

void Collector::learn(model::Generation generation, const model::ProcessImage& image) {
  code_[generation].learn(image);
  listener_(generation, image);
  for (const auto& source : sources_) source->learn(generation, image);
}

void Collector::note_image(model::Generation generation, const model::ProcessImage& image,
                           Known& known) {
  known.target.generation = generation;
  known.target.pid = image.pid;
  known.target.comm = image.comm;
  known.target.exe = image.exe;
  learn(generation, image);
}

Status Collector::add_target(model::Pid pid) {
  const auto image = readers_.process(pid);
  if (!image) return std::unexpected(image.error());
  const model::Generation generation{
      known_.empty() ? 1 : known_.rbegin()->first.value + 1};  // 0 is the kernel
  for (const auto& source : sources_) {
    if (auto attached = source->attach(*image, generation); !attached) return attached;
  }
  note_image(generation, *image, known_[generation]);
  return {};
}

void Collector::start_learning() {
  for (const auto& source : sources_) source->start_learning();
}

std::vector<int> Collector::event_fds() const {
  std::vector<int> fds;
  for (const auto& source : sources_) fds.push_back(source->event_fd());
  return fds;
}

Status Collector::serve() {
  for (const auto& source : sources_) {
    if (auto served = source->serve(); !served) return served;
  }
  return {};
}

void Collector::open_gate(MonotonicTime now, WallTime wall) {
  started_ = now;
  started_wall_ = wall;
  for (auto& [generation, known] : known_) {
    known.target.rss_anon_start_bytes = readers_.rss_anon_bytes(known.target.pid);
  }
  for (const auto& source : sources_) source->open_gate();
}

Status Collector::refresh() {
  for (const auto& source : sources_) {
    const auto states = source->generations();
    if (!states) return std::unexpected(states.error());
    for (const sources::GenerationState& state : *states) {
      Known& known = known_[state.generation];
      known.target.generation = state.generation;
      known.target.pid = state.pid;
      if (state.life == Life::kExeced && known.running) {
        if (auto forgotten = source->forget(state.generation); !forgotten) return forgotten;
      }
      known.running = state.life == Life::kRunning;
      known.target.alive = known.running;
      known.target.exit_code = state.exit_code;
      if (!known.running) continue;
      // Gone in this very moment: its end is in the next states.
      if (const auto image = readers_.process(state.pid)) {
        note_image(state.generation, *image, known);
      }
    }
  }
  return {};
}

Result<model::Snapshot> Collector::snapshot(MonotonicTime now) {
  if (auto refreshed = refresh(); !refreshed) return std::unexpected(refreshed.error());
  now = stopped_.value_or(now);
  model::Snapshot snapshot;
  snapshot.started_ns = started_.ns;
  snapshot.taken_ns = now.ns;
  snapshot.started_unix_ns = started_wall_.unix_ns;
  for (const auto& source : sources_) {
    auto collected = source->collect({started_.ns, now.ns});
    if (!collected) return std::unexpected(collected.error());
    for (sources::Collected::Use& use : collected->uses) {
      known_[use.generation].target.allocators = std::move(use.allocators);
    }
    append(snapshot.call_sites, std::move(collected->call_sites));
    append(snapshot.stacks, std::move(collected->stacks));
    append(snapshot.counters, std::move(collected->counters));
    append(snapshot.coverage, std::move(collected->coverage));
  }
  clean_stacks(code_, snapshot.call_sites, snapshot.stacks);
  if (!stopped_) read_resident_sets();
  for (const auto& [generation, known] : known_) snapshot.targets.push_back(known.target);
  return snapshot;
}

void Collector::read_resident_sets() {
  for (auto& [generation, known] : known_) {
    known.target.rss_anon_end_bytes =
        known.running ? readers_.rss_anon_bytes(known.target.pid) : std::nullopt;
  }
}

void Collector::stop(MonotonicTime now) {
  stopped_ = now;
  // Before the probes are taken out, since their pages count as anonymous memory.
  read_resident_sets();
  for (const auto& source : sources_) source->stop();
}

}  // namespace tidemark::collect
