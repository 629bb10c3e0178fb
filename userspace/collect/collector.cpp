// SPDX-License-Identifier: Apache-2.0
#include "collect/collector.h"

#include <algorithm>
#include <ranges>
#include <utility>

namespace tidemark::collect {
namespace {

// Between two readings of the maps that were asked for by addresses we do not know.
constexpr uint64_t kRefreshPauseNs = 20'000'000;
constexpr uint64_t kRefreshEveryNs = 1'000'000'000;
constexpr uint64_t kMostLookedAtBytes = uint64_t{64} << 30;

using Life = sources::GenerationState::Life;

template <typename T>
void append(std::vector<T>& into, std::vector<T> from) {
  std::ranges::move(from, std::back_inserter(into));
}

// Each source counts some of them.
void add_counters(std::vector<model::Counter>& into, std::vector<model::Counter> from) {
  for (model::Counter& counter : from) {
    const auto same = std::ranges::find(into, counter.name, &model::Counter::name);
    if (same == into.end()) {
      into.push_back(std::move(counter));
    } else {
      same->count += counter.count;
      if (counter.bytes) same->bytes = same->bytes.value_or(0) + *counter.bytes;
    }
  }
}

}  // namespace

Collector::Collector(std::vector<std::unique_ptr<sources::Source>> sources, Readers readers,
                     ImageListener listener)
    : sources_(std::move(sources)), readers_(std::move(readers)), listener_(std::move(listener)) {}

void Collector::teach_sources(model::Generation generation, const model::ProcessImage& image) {
  for (const auto& source : sources_) source->learn(generation, image);
}

void Collector::tell_code(model::Generation generation, const model::ProcessImage& image) {
  code_[generation].learn(image);
  listener_(generation, image);
}

void Collector::describe(model::Generation generation, const model::ProcessImage& image,
                         Known& known) {
  known.target.generation = generation;
  known.target.pid = image.pid;
  known.target.comm = image.comm;
  known.target.exe = image.exe;
  known.target.writable_bytes = 0;
  for (const model::Mapping& mapping : image.mappings) {
    if (mapping.writable) known.target.writable_bytes += mapping.end.value - mapping.start.value;
  }
  known.image = image;
}

void Collector::note_image(model::Generation generation, const model::ProcessImage& image,
                           Known& known) {
  describe(generation, image, known);
  tell_code(generation, image);
  teach_sources(generation, image);
}

// What a process that nobody looked at in time had mapped when it was born.
std::optional<model::ProcessImage> Collector::image_of_copy(
    const sources::GenerationState& state) const {
  const auto parent = state.copy_of ? known_.find(*state.copy_of) : known_.end();
  if (parent == known_.end() || !parent->second.image) return std::nullopt;
  model::ProcessImage image = *parent->second.image;
  image.pid = state.pid;
  return image;
}

Status Collector::add_target(model::Pid pid) {
  const auto image = readers_.process(pid);
  if (!image) return std::unexpected(image.error());
  const auto generation = select(pid);
  if (!generation) return std::unexpected(generation.error());
  // It takes its time: before the probes, which cost the target theirs.
  teach_sources(*generation, *image);
  const auto attached = attach_within_budget(*image, *generation);
  if (!attached) {
    known_.erase(*generation);
    return attached;
  }
  describe(*generation, *image, known_[*generation]);
  tell_code(*generation, *image);
  return {};
}

bool Collector::is_target(model::Pid pid) const {
  return std::ranges::any_of(known_, [pid](const auto& entry) {
    return entry.second.running && entry.second.target.pid == pid;
  });
}

Result<model::Generation> Collector::select(model::Pid pid) {
  auto generation = sources_.front()->select(pid);
  if (generation) known_[*generation].target.pid = pid;
  return generation;
}

bool Collector::join(model::Pid pid) {
  if (is_target(pid)) return false;
  const auto image = readers_.process(pid);
  if (!image) return false;  // gone again, or none that could be traced
  const auto generation = select(pid);
  if (!generation) {
    refused_.insert({image->comm, generation.error().text});
    return false;
  }
  Known& known = known_[*generation];
  note_image(*generation, *image, known);
  if (started_.ns != 0) known.target.rss_anon_start_bytes = readers_.rss_anon_bytes(pid);
  const auto attached = attach_within_budget(*image, *generation);
  if (!attached) {
    known.followed = false;
    known.not_followed = attached.error().text;
  }
  if (started_.ns != 0) known.target.joined_ns = readers_.cpu.now().ns;
  return true;
}

bool Collector::is_traced(model::Pid pid) const {
  return std::ranges::any_of(known_, [pid](const auto& entry) {
    return entry.second.running && entry.second.followed && entry.second.target.pid == pid;
  });
}

void Collector::let_go(model::Pid pid) {
  for (auto& [generation, known] : known_) {
    if (known.target.pid != pid || !known.running || known.is_let_go) continue;
    known.is_let_go = true;
    sources::GenerationState state;
    state.generation = generation;
    state.pid = pid;
    for (const auto& source : sources_) source->release(state);
  }
}

Status Collector::expect(model::Pid pid, const model::ProcessImage& image) {
  const auto generation = select(pid);
  if (!generation) return std::unexpected(generation.error());
  known_[*generation].before_exec = true;
  return attach(image, *generation);
}

Status Collector::attach_within_budget(const model::ProcessImage& image,
                                       model::Generation generation) {
  if (budget_) {
    if (auto begun = budget_->begin({image.pid}); !begun) return begun;
  }
  return attach(image, generation);
}

Status Collector::attach(const model::ProcessImage& image, model::Generation generation) {
  if (readers_.may_probe) {
    if (auto allowed = readers_.may_probe(image.pid); !allowed) return allowed;
  }
  for (const auto& source : sources_) {
    if (auto attached = source->attach(image, generation); !attached) return attached;
  }
  return {};
}

void Collector::hear(const MappingNews& news) {
  for (const auto& [pid, events] : news) hear_of(pid, events);
  settle_heard();
}

void Collector::hear_of(model::Pid pid, const std::vector<model::MappingEvent>& events) {
  std::vector<Heard>& images = heard_[pid];
  for (const model::MappingEvent& event : events) {
    if (const auto* replaced = std::get_if<model::ImageReplaced>(&event)) {
      Heard& heard = images.emplace_back();
      heard.image.pid = pid;
      heard.image.comm = replaced->comm;
      continue;
    }
    if (images.empty()) continue;  // code of before its first exec
    Heard& heard = images.back();
    heard.image.mappings.push_back(std::get<model::CodeMapped>(event).mapping);
    // The kernel maps the program first, and its loader next.
    if (heard.image.exe.empty()) heard.image.exe = heard.image.mappings.back().path;
    heard.is_news = true;
    unsettled_.insert(pid);
  }
}

// The n-th exec that was heard of began the n-th generation that was born so in this process; until
// the sources know of it, what was heard has to wait.
void Collector::settle_heard() {
  if (unsettled_.empty()) return;
  const auto states = sources_.front()->generations();
  if (!states) return;
  std::map<model::Pid, std::size_t> execs;
  for (const sources::GenerationState& state : *states) {
    if (!state.by_exec || !unsettled_.contains(state.pid)) continue;
    std::vector<Heard>& images = heard_[state.pid];
    const std::size_t exec = execs[state.pid]++;
    if (exec >= images.size() || !std::exchange(images[exec].is_news, false)) continue;
    heard_images_[state.generation] = images[exec].image;
    const auto known = known_.find(state.generation);
    if (known != known_.end() && !known->second.image)
      describe(state.generation, images[exec].image, known->second);
    tell_code(state.generation, images[exec].image);
    teach_sources(state.generation, images[exec].image);
  }
  std::erase_if(unsettled_,
                [&](model::Pid pid) { return std::ranges::none_of(heard_[pid], &Heard::is_news); });
}

std::vector<sources::News> Collector::take_news() {
  std::vector<sources::News> news;
  for (const auto& source : sources_) append(news, source->take_news());
  return news;
}

void Collector::start_learning() {
  for (const auto& source : sources_) source->start_learning();
}

std::vector<int> Collector::event_fds() const {
  std::vector<int> fds;
  for (const auto& source : sources_) append(fds, source->event_fds());
  return fds;
}

Status Collector::serve_sources() {
  for (const auto& source : sources_) {
    const auto served = source->serve();
    if (!served) return std::unexpected(served.error());
    maps_wanted_ |= *served == sources::Served::kMapsWanted;
  }
  return {};
}

Status Collector::serve(MonotonicTime now) {
  if (auto served = serve_sources(); !served) return served;
  // Nonsense addresses want them all the time; the next tick comes anyway.
  if (!maps_wanted_ || now.ns - refreshed_.ns < kRefreshPauseNs) return {};
  return refresh(now);
}

void Collector::keep_budget(double share, std::function<void()> before_pause) {
  before_pause_ = std::move(before_pause);
  std::vector<sources::Extra*> extras;
  for (const auto& source : sources_) {
    if (sources::Extra* const extra = source->extra()) extras.push_back(extra);
  }
  for (const auto& source : sources_) {
    sources::Throttle* const throttle = source->throttle();
    if (throttle != nullptr) budget_.emplace(share, *throttle, extras, readers_.cpu);
  }
}

Status Collector::keep_budgets() {
  if (!budget_ || stopped_) return {};
  std::vector<model::Pid> running;
  for (const auto& [generation, known] : known_) {
    if (known.running && known.followed && !known.before_exec && !known.is_let_go)
      running.push_back(known.target.pid);
  }
  return budget_->tick(running, [this] {
    if (started_.ns != 0) before_pause_();
  });
}

Status Collector::tick(MonotonicTime now) {
  if (auto kept = keep_budgets(); !kept) return kept;
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
  if (budget_) budget_->counting_begins();
}

Status Collector::refresh(MonotonicTime now) {
  refreshed_ = now;
  maps_wanted_ = false;
  settle_heard();
  // What every source is told of is what was known before the first of them was asked.
  std::map<model::Generation, bool> running_before;
  for (const auto& [generation, known] : known_) running_before[generation] = known.running;
  std::set<model::Generation> forgotten;
  for (const auto& source : sources_) {
    auto refreshed = refresh_from(*source, running_before, forgotten);
    if (!refreshed) return refreshed;
  }
  return {};
}

// Each image is read between two looks at the generations: one that was replaced meanwhile (exec)
// is of no use.
Status Collector::refresh_from(sources::Source& source,
                               const std::map<model::Generation, bool>& running_before,
                               std::set<model::Generation>& forgotten) {
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
    const bool ends = state.life == Life::kExeced && (is_new || known_before->second);
    if (ends && forgotten.insert(state.generation).second) {
      // Every one of them: it may hold something of a generation that another source tells of.
      for (const auto& each : sources_) {
        if (auto done = each->forget(state.generation); !done) return done;
      }
    }
    if (state.life == Life::kExited && !is_new && known_before->second) source.release(state);
    const auto image = images.find(state.generation);
    const bool running = state.life == Life::kRunning;
    const auto heard = heard_images_.find(state.generation);
    const model::ProcessImage* seen = running && image != images.end() ? &image->second : nullptr;
    if (seen == nullptr && is_new && heard != heard_images_.end()) seen = &heard->second;
    const auto inherited = seen == nullptr && is_new ? image_of_copy(state) : std::nullopt;
    if (inherited) seen = &*inherited;
    if (running && is_new && seen == nullptr) continue;  // met again, with its image
    note_state(source, state, is_new, seen);
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
  if (is_new && started_.ns != 0) known.target.joined_ns = refreshed_.ns;
  if (image == nullptr) return;
  note_image(state.generation, *image, known);
  if (is_new) known.followed = false;
  if (known.followed || known.is_let_go) return;
  auto followed = readers_.may_probe ? readers_.may_probe(state.pid) : Status{};
  if (followed) followed = source.follow(*image, state);
  known.followed = followed.has_value();
  known.not_followed = followed ? "" : followed.error().text;
}

void Collector::add_uses(std::vector<sources::Collected::Use> uses) {
  for (sources::Collected::Use& use : uses) {
    model::Target& target = known_[use.generation].target;
    target.allocators = std::move(use.allocators);
    target.candidates = std::move(use.candidates);
  }
}

void Collector::add_targets(model::Snapshot& snapshot) const {
  for (const auto& [generation, known] : known_) {
    // One that came and went without a name, and without a look at it, is nobody to be listed.
    const bool is_nobody = !known.running && !known.image;
    if (!known.before_exec && !is_nobody) snapshot.targets.push_back(known.target);
  }
}

Result<model::Snapshot> Collector::live_blocks(MonotonicTime now) {
  if (auto served = serve_sources(); !served) return std::unexpected(served.error());
  model::Snapshot snapshot;
  snapshot.started_ns = started_.ns;
  snapshot.taken_ns = now.ns;
  for (const auto& source : sources_) {
    auto collected = source->collect({started_.ns, now.ns, sources::Detail::kLive});
    if (!collected) return std::unexpected(collected.error());
    add_uses(std::move(collected->uses));
    append(snapshot.call_sites, std::move(collected->call_sites));
    if (collected->windows) snapshot.windows = std::move(collected->windows);
  }
  add_targets(snapshot);
  return snapshot;
}

Result<model::Snapshot> Collector::snapshot(MonotonicTime now) {
  // What the sources heard until now may want the maps, and is settled with them.
  if (auto refreshed = refresh(now); !refreshed) return std::unexpected(refreshed.error());
  if (auto served = serve_sources(); !served) return std::unexpected(served.error());
  now = stopped_.value_or(now);
  model::Snapshot snapshot;
  snapshot.started_ns = started_.ns;
  snapshot.taken_ns = now.ns;
  snapshot.started_unix_ns = started_wall_.unix_ns;
  if (budget_) snapshot.budget = budget_->account();
  for (const auto& source : sources_) {
    auto collected = source->collect({started_.ns, now.ns, sources::Detail::kAll});
    if (!collected) return std::unexpected(collected.error());
    add_uses(std::move(collected->uses));
    append(snapshot.call_sites, std::move(collected->call_sites));
    append(snapshot.apart, std::move(collected->apart));
    append(snapshot.stacks, std::move(collected->stacks));
    add_counters(snapshot.counters, std::move(collected->counters));
    append(snapshot.coverage, std::move(collected->coverage));
    if (!collected->windows) continue;
    snapshot.windows = std::move(collected->windows);
    // Of what a target that is too busy has to be looked at in from the start.
    snapshot.windows->began_ns = std::max(snapshot.windows->began_ns, started_.ns);
    snapshot.windows->clock = budget_->clock();
    snapshot.windows->reach = budget_->trim().reach();
  }
  note_untraced(snapshot.coverage);
  read_resident_mappings(snapshot.call_sites);
  read_resident_mappings(snapshot.apart);
  clean_stacks(code_, snapshot.call_sites, snapshot.stacks);
  complete_guessed(snapshot.call_sites, snapshot.stacks);
  if (!stopped_) read_resident_sets();
  add_targets(snapshot);
  if (readers_.place) sum_workers(snapshot, readers_.place);
  return snapshot;
}

// One row a program and reason, however many processes it was.
void Collector::note_untraced(std::vector<model::Coverage>& coverage) const {
  std::map<std::pair<std::string, std::string>, std::vector<model::Pid>> untraced;
  for (const auto& [generation, known] : known_) {
    if (known.followed || known.before_exec) continue;
    untraced[{known.target.comm, known.not_followed}].push_back(known.target.pid);
  }
  for (const auto& refused : refused_) untraced[refused];
  for (const auto& [generation, known] : known_) {
    if (!known.is_let_go) continue;
    coverage.push_back({fmt::format("process {} ({})", known.target.pid.value, known.target.comm),
                        model::HookState::kOff,
                        "it had stopped growing and was let go, for good: its figures are those "
                        "of then"});
  }
  for (const auto& [program, pids] : untraced) {
    const auto& [comm, reason] = program;
    coverage.push_back({pids.size() == 1 ? fmt::format("process {} ({})", pids.front().value, comm)
                                         : fmt::format("processes of {}", comm),
                        model::HookState::kMissing, reason});
  }
}

void Collector::read_resident_sets() {
  for (auto& [generation, known] : known_) {
    known.target.rss_anon_end_bytes =
        known.running ? readers_.rss_anon_bytes(known.target.pid) : std::nullopt;
  }
}

// Reading takes 8 bytes a page: what is larger in all (a sanitizer's shadow) stays unknown.
void Collector::read_resident_mappings(std::vector<model::CallSite>& sites) const {
  uint64_t left_bytes = kMostLookedAtBytes;
  for (model::CallSite& site : sites) {
    const std::vector<model::AddressRange> ranges = std::exchange(site.ranges, {});
    if (site.kind != model::Kind::kMapping) continue;
    uint64_t bytes = 0;
    for (const model::AddressRange& range : ranges) bytes += range.end - range.start;
    if (bytes == 0) site.resident = model::Resident{};
    if (bytes == 0 || !readers_.resident) continue;
    const auto known = known_.find(site.owner);
    if (bytes > left_bytes || known == known_.end() || !known->second.running) continue;
    left_bytes -= bytes;
    site.resident = readers_.resident(known->second.target.pid, ranges);
  }
}

// The last first: a call that the heap's probes refuse already must not look like the program's
// own mapping.
void Collector::drain() {
  for (const auto& source : sources_ | std::views::reverse) source->drain();
}

void Collector::stop(MonotonicTime now) {
  stopped_ = now;
  // Before the probes are taken out, since their pages count as anonymous memory.
  read_resident_sets();
  for (const auto& source : sources_) source->stop();
}

}  // namespace tidemark::collect
