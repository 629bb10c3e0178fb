// SPDX-License-Identifier: Apache-2.0
//
// Collector: what the sources counted and what is known of the targets become a Snapshot. Owns the
// sources. Reads processes only through the readers that it is given. Single-threaded.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "collect/stack_cleaner.h"
#include "model/process.h"
#include "model/snapshot.h"
#include "sources/source.h"
#include "support/clock.h"
#include "support/result.h"

namespace tidemark::collect {

struct Readers {
  std::function<Result<model::ProcessImage>(model::Pid)> process;
  std::function<std::optional<uint64_t>(model::Pid)> rss_anon_bytes;
};

// Told of every image that is read, so that names can be had later: the symbolizer.
using ImageListener = std::function<void(model::Generation, const model::ProcessImage&)>;

class Collector {
 public:
  Collector(std::vector<std::unique_ptr<sources::Source>> sources, Readers readers,
            ImageListener listener);

  // Puts the probes of every source into the process.
  [[nodiscard]] Status add_target(model::Pid pid);
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
  // Exact after stop(); before it a call that is under way may be half counted.
  [[nodiscard]] Result<model::Snapshot> snapshot(
      MonotonicTime now);  // `now` is ignored after stop()
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
  };

  [[nodiscard]] Result<model::Generation> next_generation() const;
  void read_resident_sets();
  [[nodiscard]] Status refresh_from(sources::Source& source,
                                    const std::map<model::Generation, bool>& running_before);
  void note_state(sources::Source& source, const sources::GenerationState& state, bool is_new,
                  const model::ProcessImage* image);
  void learn(model::Generation generation, const model::ProcessImage& image);
  void note_image(model::Generation generation, const model::ProcessImage& image, Known& known);

  std::vector<std::unique_ptr<sources::Source>> sources_;
  Readers readers_;
  ImageListener listener_;
  std::map<model::Generation, Known> known_;
  CodeByOwner code_;
  MonotonicTime started_;
  std::optional<MonotonicTime> stopped_;
  MonotonicTime refreshed_;
  bool maps_wanted_ = false;
  WallTime started_wall_;
};

}  // namespace tidemark::collect
