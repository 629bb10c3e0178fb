// SPDX-License-Identifier: Apache-2.0
#include "collect/collector.h"

#include <algorithm>

namespace tidemark::collect {
namespace {

// Between two readings of the maps that were asked for by addresses we do not know.
constexpr uint64_t kRefreshPauseNs = 20'000'000;
constexpr uint64_t kRefreshEveryNs = 1'000'000'000;

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
  const auto generation = next_generation();
  if (!generation) return std::unexpected(generation.error());
  for (const auto& source : sources_) {
    if (auto attached = source->attach(*image, *generation); !attached) return attached;
  }
  note_image(*generation, *image, known_[*generation]);
  return {};
}

// Behind those that we gave and those that the sources gave to processes which called exec
// meanwhile. 0 is the kernel.
Result<model::Generation> Collector::next_generation() const {
  uint32_t last = known_.empty() ? 0 : known_.rbegin()->first.value;
  for (const auto& source : sources_) {
    const auto states = source->generations();
    if (!states) return std::unexpected(states.error());
    for (const sources::GenerationState& state : *states)
      last = std::max(last, state.generation.value);
  }
  return model::Generation{last + 1};
}

void Collector::start_learning() {
  for (const auto& source : sources_) source->start_learning();
}

std::vector<int> Collector::event_fds() const {
  std::vector<int> fds;
  for (const auto& source : sources_) fds.push_back(source->event_fd());
  return fds;
}

Status Collector::serve(MonotonicTime now) {
  for (const auto& source : sources_) {
    const auto served = source->serve();
    if (!served) return std::unexpected(served.error());
    maps_wanted_ |= *served == sources::Served::kMapsWanted;
  }
  // Nonsense addresses want them all the time; the next tick comes anyway.
  if (!maps_wanted_ || now.ns - refreshed_.ns < kRefreshPauseNs) return {};
  return refresh(now);
}

Status Collector::tick(MonotonicTime now) {
  if (!maps_wanted_ && now.ns - refreshed_.ns < kRefreshEveryNs) return {};
  return refresh(now);
}

void Collector::open_gate(MonotonicTime now, WallTime wall) {
  started_ = now;
  started_wall_ = wall;
  for (auto& [generation, known] : known_) {
    known.target.rss_anon_start_bytes = readers_.rss_anon_bytes(known.target.pid);
  }
  for (const auto& source : sources_) source->open_gate();
}

Status Collector::refresh(MonotonicTime now) {
  refreshed_ = now;
  maps_wanted_ = false;
  // What every source is told of is what was known before the first of them was asked.
  std::map<model::Generation, bool> running_before;
  for (const auto& [generation, known] : known_) running_before[generation] = known.running;
  for (const auto& source : sources_) {
    if (auto refreshed = refresh_from(*source, running_before); !refreshed) return refreshed;
  }
  return {};
}

// Each image is read between two looks at the generations: one that was replaced meanwhile (exec)
// is of no use.
Status Collector::refresh_from(sources::Source& source,
                               const std::map<model::Generation, bool>& running_before) {
  const auto before = source.generations();
  if (!before) return std::unexpected(before.error());
  std::map<model::Generation, model::ProcessImage> images;
  for (const sources::GenerationState& state : *before) {
    if (state.life != Life::kRunning) continue;
    if (auto image = readers_.process(state.pid)) {
      images.emplace(state.generation, std::move(*image));
    }
  }
  const auto states = source.generations();
  if (!states) return std::unexpected(states.error());
  for (const sources::GenerationState& state : *states) {
    const auto known_before = running_before.find(state.generation);
    const bool is_new = known_before == running_before.end();
    if (state.life == Life::kExeced && (is_new || known_before->second)) {
      if (auto forgotten = source.forget(state.generation); !forgotten) return forgotten;
    }
    const auto image = images.find(state.generation);
    const bool running = state.life == Life::kRunning;
    if (running && is_new && image == images.end()) continue;  // met again, with its image
    note_state(source, state, is_new, running && image != images.end() ? &image->second : nullptr);
  }
  return {};
}

// `image` is null where there is none to read (any more).
void Collector::note_state(sources::Source& source, const sources::GenerationState& state,
                           bool is_new, const model::ProcessImage* image) {
  Known& known = known_[state.generation];
  known.target.generation = state.generation;
  known.target.pid = state.pid;
  known.running = state.life == Life::kRunning;
  known.target.alive = known.running;
  known.target.exit_code = state.exit_code;
  if (image == nullptr) return;
  note_image(state.generation, *image, known);
  if (is_new) known.followed = false;
  if (known.followed) return;
  const auto followed = source.follow(*image, state);
  known.followed = followed.has_value();
  known.not_followed = followed ? "" : followed.error().text;
}

Result<model::Snapshot> Collector::snapshot(MonotonicTime now) {
  if (auto refreshed = refresh(now); !refreshed) return std::unexpected(refreshed.error());
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
  for (const auto& [generation, known] : known_) {
    if (known.followed) continue;
    snapshot.coverage.push_back({fmt::format("process {} after its exec", known.target.pid.value),
                                 model::HookState::kMissing, known.not_followed});
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

void Collector::drain() {
  for (const auto& source : sources_) source->drain();
}

void Collector::stop(MonotonicTime now) {
  stopped_ = now;
  // Before the probes are taken out, since their pages count as anonymous memory.
  read_resident_sets();
  for (const auto& source : sources_) source->stop();
}

}  // namespace tidemark::collect
