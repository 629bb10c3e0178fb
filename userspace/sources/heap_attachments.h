// SPDX-License-Identifier: Apache-2.0
//
// HeapAttachments: the probes on the allocators of the traced processes, from plan to links, and
// over an exec. Holds the keeper of the links, the BPF object's programs and its maps, which must
// outlive it. Single-threaded.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bpfrt/probe_keeper.h"
#include "kernel/rules.h"
#include "model/process.h"
#include "model/snapshot.h"
#include "sources/heap_probes.h"
#include "sources/source.h"
#include "support/result.h"

struct bpf_map;
struct bpf_object;

namespace tidemark::sources {

struct AttachmentMaps {
  const bpf_map* cookies_by_address = nullptr;
  const bpf_map* allocator_text = nullptr;
  const bpf_map* hits = nullptr;
  const bpf_map* usdt_arguments = nullptr;
};

class HeapAttachments {
 public:
  HeapAttachments(bpfrt::ProbeKeeper& keeper, bpf_object* object, const AttachmentMaps& maps,
                  const kernel::HeapPlan& plan, const Settings& settings)
      : keeper_(keeper),
        object_(object),
        maps_(maps),
        plan_(plan),
        choice_(settings.sites),
        reach_(settings.reach),
        sampling_(settings.sampling_interval_bytes != 0),
        throttled_(settings.throttled) {}

  // Puts probes on every allocator of the process, or on none. Late if `counting` has begun and
  // there were none yet.
  [[nodiscard]] Status attach(const model::ProcessImage& image, model::Generation generation,
                              bool counting);
  // After an exec: probes are on the files that had them already, unless they were lost; the others
  // get theirs. Fails while the new image is still being put together: to be tried again then.
  [[nodiscard]] Status follow(const model::ProcessImage& image, const GenerationState& state,
                              bool counting);
  // A look at the maps of a process that is traced already: allocators that were loaded since get
  // their probes, late. What goes wrong stands in the coverage.
  void learn(const model::ProcessImage& image, model::Generation generation, bool counting);
  // Looks for what else may allocate in processes whose probes were never hit.
  void find_candidates();
  // The process of this generation has ended: its links go, in the background.
  void release(const GenerationState& state);
  // The address space is gone, the process may live on.
  void forget(model::Generation generation);
  // Entries before returns, so that no call is left without its return.
  void detach();
  // Takes the probes out for a while, and puts them in again; only where they are throttled. What
  // is to be probed meanwhile gets its probes at resume().
  void pause();
  void resume();

  [[nodiscard]] const std::vector<model::Coverage>& coverage() const { return coverage_; }
  [[nodiscard]] std::vector<Collected::Use> read_uses() const;
  // How many have probes at the same place, at most: the kernel asks them all at each hit. Known
  // where they are throttled.
  [[nodiscard]] uint32_t processes_a_probe() const { return processes_a_probe_; }
  // Whether a place of this program's is single-stepped, at fifteen times the price.
  [[nodiscard]] bool is_stepped(std::string_view program) const {
    return stepped_.contains(program);
  }
  // Times that probes came late.
  [[nodiscard]] uint64_t late_probes() const { return late_probes_; }

 private:
  // One place that a probe was put on; its index is the number in the cookie.
  struct Placed {
    model::Pid pid;
    model::FileId file;
    std::size_t allocator = 0;
    std::string module;
    uint64_t file_offset_bytes = 0;
    FileRange own;
    uint64_t cookie = 0;
  };
  // A generation's share in a probe: its hits lie between two readings of the counter.
  struct Share {
    uint32_t probe = 0;
    uint64_t hits_before = 0;
    std::optional<uint64_t> hits_at_end;
  };

  struct Points;
  // Where a process's probes are kept: kEverybody has those that are put in for the machine.
  static constexpr model::Pid kEverybody{0};
  [[nodiscard]] model::Pid holder_of(const model::ProcessImage& image) const {
    return reach_ == Reach::kMachine ? kEverybody : image.pid;
  }
  // What there is to be attached for this process. An error where it has no allocator.
  [[nodiscard]] Result<HeapProbePlan> plan_for(const model::ProcessImage& image);
  [[nodiscard]] FileFilter not_looked_into() const;
  [[nodiscard]] bool is_served(const model::ProcessImage& image) const;
  // Those of files that have none in this process yet; returns how many were set.
  [[nodiscard]] Result<uint64_t> attach_new(const model::ProcessImage& image,
                                            model::Generation generation,
                                            const HeapProbePlan& plan);
  [[nodiscard]] Status place_probes(model::Pid pid, const HeapProbePlan& plan,
                                    const std::vector<bool>& wanted, Points& points);
  [[nodiscard]] Status note_arguments(const HeapProbe& probe);
  void place_hooks(model::Pid pid, const HeapProbePlan& plan, Points& points);
  [[nodiscard]] Status attach_all(model::Pid pid, const Points& points);
  void end_shares(model::Pid pid);
  [[nodiscard]] Status attach_points(std::string_view program, bpfrt::ProbeEnd end,
                                     const bpfrt::UprobeTarget& target,
                                     std::span<const bpfrt::UprobePoint> points);
  [[nodiscard]] bool has_probes(model::Pid pid, const model::FileId& file) const;
  void note_coverage(const HeapProbePlan& plan);
  void add_coverage(model::Coverage row);
  void note_files(const model::ProcessImage& image, model::Generation generation);
  void note_addresses(const model::ProcessImage& image, model::Generation generation);
  [[nodiscard]] uint64_t hits_of(uint32_t probe) const;

  bpfrt::ProbeKeeper& keeper_;
  bpf_object* object_;
  AttachmentMaps maps_;
  kernel::HeapPlan plan_;
  SiteChoice choice_;
  Reach reach_;
  bool sampling_;
  bool throttled_;
  bool paused_ = false;
  struct Attached {
    model::Pid pid;
    bpfrt::ProbeEnd end = bpfrt::ProbeEnd::kEntry;
    bpfrt::ProbeLink link = 0;
  };
  // What resume() attaches again.
  struct Placement {
    std::string program;
    bpfrt::ProbeEnd end = bpfrt::ProbeEnd::kEntry;
    bpfrt::UprobeTarget target;
    std::vector<bpfrt::UprobePoint> points;
  };
  [[nodiscard]] Status attach_placement(const Placement& placement);
  void count_processes();
  void detach_links();
  [[nodiscard]] std::string path_of(const HeapProbePlan& plan, std::size_t file);
  // Takes the links of a process out of links_; its probes count as lost.
  [[nodiscard]] std::vector<bpfrt::ProbeLink> take_links(model::Pid pid);

  std::vector<Attached> links_;
  std::vector<Placement> placements_;            // in the order of attaching; where throttled
  std::map<model::FileId, UniqueFd> held_open_;  // the files of placements_
  std::vector<Placed> placed_;
  std::set<uint32_t> lost_;  // probes whose process was replaced under them
  std::set<std::pair<model::Pid, model::FileId>> hooked_;
  std::set<model::Pid> bare_;  // have functions whose return instructions are probed
  std::map<model::Generation, std::set<model::FileId>> looked_into_;
  std::set<model::FileId> known_to_everybody_;               // looked into on behalf of the machine
  std::map<model::Generation, model::ProcessImage> images_;  // as last seen
  std::map<model::Generation, std::vector<std::string>> candidates_;
  AllocatorFinder finder_;
  bool detached_ = false;
  std::map<model::Generation, std::vector<Share>> shares_;
  std::vector<model::Coverage> coverage_;
  uint64_t late_probes_ = 0;
  uint32_t processes_a_probe_ = 1;
  std::set<std::string, std::less<>> stepped_;  // programs
};

}  // namespace tidemark::sources
