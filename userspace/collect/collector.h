// SPDX-License-Identifier: Apache-2.0
//
// Collector: what the sources counted and what is known of the targets become a Snapshot. Owns the
// sources. Reads processes only through the readers that it is given. Single-threaded.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "collect/budget_keeper.h"
#include "collect/stack_cleaner.h"
#include "collect/worker_sums.h"
#include "model/mapping_event.h"
#include "model/process.h"
#include "model/snapshot.h"
#include "sources/source.h"
#include "support/clock.h"
#include "support/result.h"

namespace tidemark::collect {

struct Readers {
  std::function<Result<model::ProcessImage>(model::Pid)> process;
  std::function<std::optional<uint64_t>(model::Pid)> rss_anon_bytes;
  // How much of these ranges is in memory; none where that cannot be read. May be empty.
  std::function<std::optional<model::Resident>(model::Pid, std::span<const model::AddressRange>)>
      resident;
  // An error where probes would harm the process; always asked before they are set. May be empty.
  std::function<Status(model::Pid)> may_probe;
  CpuReaders cpu;  // for keep_budget()
  PlaceOf place;   // where set, the call sites of workers are summed
};

// Told of every image that is read, so that names can be had later: the symbolizer.
using ImageListener = std::function<void(model::Generation, const model::ProcessImage&)>;

class Collector {
 public:
  Collector(std::vector<std::unique_ptr<sources::Source>> sources, Readers readers,
            ImageListener listener);

  // Puts the probes of every source into the process.
  [[nodiscard]] Status add_target(model::Pid pid);
  // The same for one of a group, at any time: one that cannot be traced is told in the coverage and
  // tried again after its next exec. False where it is a target already, or gone.
  [[nodiscard]] bool join(model::Pid pid);
  // Whether there are probes in it.
  [[nodiscard]] bool is_traced(model::Pid pid) const;
  // Takes the probes out of a target that goes on: its figures stay as they are, and it is not
  // probed again unless it becomes another program. Nothing where it is no target.
  void let_go(model::Pid pid);
  // The process will call exec and become this image: its probes are there from its first
  // instruction. What it is until then is no target.
  [[nodiscard]] Status expect(model::Pid pid, const model::ProcessImage& image);
  // What processes have mapped, in the order in which they did.
  using MappingNews = std::map<model::Pid, std::vector<model::MappingEvent>>;
  void hear(const MappingNews& news);
  // What the sources have to tell of processes that are not traced.
  [[nodiscard]] std::vector<sources::News> take_news();
  // Tracing is to take at most this share of the targets' CPU time; before the gate opens. Then
  // tick() is wanted some forty times a second. `before_pause` is called while probes are there for
  // the last time before a pause, and may take a snapshot.
  void keep_budget(double share, std::function<void()> before_pause);
  // Lets the sources get ready for what the targets do: stacks are walked, nothing is counted.
  void start_learning();
  // Readable when sources wait for an answer; serve() gives it.
  [[nodiscard]] std::vector<int> event_fds() const;
  [[nodiscard]] Status serve(MonotonicTime now);
  // From here on everything is counted.
  void open_gate(MonotonicTime now, WallTime wall);
  // To be called often: refreshes where that is wanted, and once a second.
  [[nodiscard]] Status tick(MonotonicTime now);
  // Reads maps and resident sets again and finds new generations (exec). Code that came and went
  // between two calls has no names.
  [[nodiscard]] Status refresh(MonotonicTime now);
  // Exact after stop(); before it a call that is under way may be half counted. What windows saw is
  // in it as it was seen: see window_figures.h.
  [[nodiscard]] Result<model::Snapshot> snapshot(
      MonotonicTime now);  // `now` is ignored after stop()
  // Only the call sites of the heap with samples of their live blocks, and the targets: what an
  // audit needs that has to be quick. Stacks are as the sources have them,
  // windows without the clock.
  [[nodiscard]] Result<model::Snapshot> live_blocks(MonotonicTime now);
  // Probes are there for a moment, as a budget has it: what takes long had better wait.
  [[nodiscard]] bool is_in_window() const { return budget_ && budget_->is_in_window(); }
  // Refuses new calls, so that those under way can come to their end before stop().
  void drain();
  // Nothing later than `now` is counted.
  void stop(MonotonicTime now);

 private:
  struct Known {
    model::Target target;
    bool running = true;
    bool followed = true;  // false after an exec, until the sources have looked at the new image
    std::string not_followed;  // why
    bool is_let_go = false;
    bool before_exec = false;                  // our own child, see expect()
    std::optional<model::ProcessImage> image;  // as last seen
  };

  [[nodiscard]] Status attach(const model::ProcessImage& image, model::Generation generation);
  [[nodiscard]] Status keep_budgets();
  [[nodiscard]] bool is_target(model::Pid pid) const;
  [[nodiscard]] Result<model::Generation> select(model::Pid pid);
  [[nodiscard]] Status serve_sources();
  void hear_of(model::Pid pid, const std::vector<model::MappingEvent>& events);
  void settle_heard();
  void add_uses(std::vector<sources::Collected::Use> uses);
  void add_targets(model::Snapshot& snapshot) const;
  void read_resident_sets();
  void note_untraced(std::vector<model::Coverage>& coverage) const;
  void read_resident_mappings(std::vector<model::CallSite>& sites) const;
  [[nodiscard]] Status refresh_from(sources::Source& source,
                                    const std::map<model::Generation, bool>& running_before,
                                    std::set<model::Generation>& forgotten);
  void note_state(sources::Source& source, const sources::GenerationState& state, bool is_new,
                  const model::ProcessImage* image);
  [[nodiscard]] std::optional<model::ProcessImage> image_of_copy(
      const sources::GenerationState& state) const;
  [[nodiscard]] Status attach_within_budget(const model::ProcessImage& image,
                                            model::Generation generation);
  void teach_sources(model::Generation generation, const model::ProcessImage& image);
  void tell_code(model::Generation generation, const model::ProcessImage& image);
  void describe(model::Generation generation, const model::ProcessImage& image, Known& known);
  void note_image(model::Generation generation, const model::ProcessImage& image, Known& known);

  std::vector<std::unique_ptr<sources::Source>> sources_;
  std::optional<BudgetKeeper> budget_;
  std::function<void()> before_pause_;
  Readers readers_;
  ImageListener listener_;
  std::map<model::Generation, Known> known_;
  // The images of a process as it told them, one an exec, oldest first.
  struct Heard {
    model::ProcessImage image;
    bool is_news = true;
  };
  std::map<model::Pid, std::vector<Heard>> heard_;
  std::set<model::Pid> unsettled_;  // have images that are news
  std::map<model::Generation, model::ProcessImage> heard_images_;
  CodeByOwner code_;
  std::set<std::pair<std::string, std::string>> refused_;  // program and reason
  MonotonicTime started_;
  std::optional<MonotonicTime> stopped_;
  MonotonicTime refreshed_;
  bool maps_wanted_ = false;
  WallTime started_wall_;
};

}  // namespace tidemark::collect
