// SPDX-License-Identifier: Apache-2.0
//
// Source: one capability that counts memory. It owns its BPF object, maps and links; ABI records
// stop here. Life: select() and attach() for each target, start_learning(), open_gate(), collect()
// as often as wanted, stop(). Single-threaded.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "kernel/facts.h"
#include "model/governor.h"
#include "model/process.h"
#include "model/snapshot.h"
#include "support/result.h"

namespace tidemark::sources {

struct Limits {
  uint32_t max_blocks = 1 << 20;
  uint32_t max_stacks = 1 << 14;
  uint32_t max_targets = 1024;
  uint32_t max_rules = 1 << 16;  // return addresses whose unwind rule is kept
  uint32_t max_threads = 16384;  // only where the kernel has no task storage
};

// kCheapestWithLongNops: on kernels that emulate nops with operands.
enum class SiteChoice { kCheapest, kCheapestWithLongNops, kEntry };

// Whether a call's entry and return are seen by one program where the kernel can do that.
enum class SessionChoice { kWhereThere, kNever };

// Whose memory probes are put into.
enum class Reach {
  kSelected,  // that of the selected processes: nobody else pays for them
  kMachine,   // that of every process, now and to come: one probe a place, however many they are
};

// What a source has to tell of processes that are not traced (yet).
struct Watch {
  bool children = false;  // of those that are traced or named here
  bool execs = false;     // of all processes
  std::vector<model::Pid> parents;
};

struct Settings {
  Limits limits;
  SiteChoice sites = SiteChoice::kCheapest;
  Reach reach = Reach::kSelected;  // kMachine selects every process, too
  SessionChoice sessions = SessionChoice::kWhereThere;
  uint32_t sampling_interval_bytes = 0;  // mean bytes between samples; 0: every block is counted
  bool throttled = false;                // a Throttle will be asked for
  bool selects_later = false;  // targets are chosen while the trace runs: that is not late
  Watch watch;
};

// What a source that costs its targets something lets be done about it.
class Throttle {
 public:
  virtual ~Throttle() = default;
  // CPU time that was taken from the targets so far.
  [[nodiscard]] virtual Result<model::Spending> spending() = 0;
  // What a probe costs that finds nothing to do, as measured on a helper of ours; ns.
  [[nodiscard]] virtual double trap_ns() const = 0;
  // Of blocks that come from now on; 0: all are recorded.
  virtual void set_sampling_interval(uint32_t bytes) = 0;
  // Takes the probes out, and puts them in again. What happens in between is not seen; from the
  // first pause on the source tells what it saw as windows.
  virtual void pause() = 0;
  virtual void resume() = 0;
};

// What a source costs everybody on the machine, targets or not, and that can only be left out.
class Extra {
 public:
  virtual ~Extra() = default;
  // CPU time that it took so far from all. Needs run times, see Throttle.
  [[nodiscard]] virtual Result<uint64_t> spent_ns(double trap_ns) const = 0;
  // For good; the coverage has the reason, and what was known by then is told no more.
  virtual void leave_out(std::string reason) = 0;
};

struct News {
  model::Pid pid;
  bool child = false;  // born of a process whose children are watched; else one that called exec
};

// What became of an address space that is or was traced.
struct GenerationState {
  enum class Life { kRunning, kExited, kExeced };
  model::Generation generation;
  model::Pid pid;
  Life life = Life::kRunning;
  std::optional<int> exit_code;              // as a shell says it
  bool probes_lost = false;                  // born by an exec that left the probes behind
  bool by_exec = false;                      // it began as another program
  std::optional<model::Generation> copy_of;  // born by fork from this one, with what it has mapped
};

// What a source saw so far; collect/ makes a Snapshot of it.
struct Collected {
  std::vector<model::CallSite> call_sites;
  std::vector<model::CallSite> apart;
  std::vector<model::Stack> stacks;
  std::vector<model::Counter> counters;
  std::vector<model::Coverage> coverage;
  // The allocators of each process that was attached to, by the generation it was attached as.
  struct Use {
    model::Generation generation;
    std::vector<model::AllocatorUse> allocators;
    std::vector<std::string> candidates{};  // as model::Target has them
  };
  std::vector<Use> uses;
  // Where the source was paused: its windows, with histories in the call sites.
  std::optional<model::WindowFacts> windows;
};

// kLive: the call sites with samples of their live blocks, for an audit that has to be quick.
enum class Detail { kAll, kLive };

// The window of births for CallSite::live_by_quarter.
struct Window {
  uint64_t started_ns = 0;
  uint64_t taken_ns = 0;
  Detail detail = Detail::kAll;
};

enum class Served { kAll, kMapsWanted };

class Source {
 public:
  virtual ~Source() = default;

  // Selects the process, under a number that no other has. It is followed from here on, over execs
  // too, whether probes can be put into it or not.
  [[nodiscard]] virtual Result<model::Generation> select(model::Pid pid) = 0;
  // Puts probes into the selected target; nothing is counted before the gate opens. An error says
  // what is missing in this target and what to do.
  [[nodiscard]] virtual Status attach(const model::ProcessImage& target,
                                      model::Generation generation) = 0;
  // A traced process has called exec and is this image now: whatever has to be probed anew is. An
  // error tells why the new image is not traced (yet: its libraries may still be to come).
  [[nodiscard]] virtual Status follow(const model::ProcessImage& image,
                                      const GenerationState& state) = 0;
  // Called with every image that is read of a traced address space: at attach, about once a second,
  // after an exec.
  virtual void learn(model::Generation generation, const model::ProcessImage& image) = 0;
  // The process of this generation has ended: its probes are given back.
  virtual void release(const GenerationState& state) = 0;
  // The address space is gone (exec): nothing of it is live any more, its room is given back.
  [[nodiscard]] virtual Status forget(model::Generation generation) = 0;
  // Lets stacks be walked but nothing counted, so that what the walks need is known before the gate
  // opens.
  virtual void start_learning() = 0;
  // Readable when the programs wait for an answer or have news; then serve() gives the one, or
  // says that the maps have to be read first, and keeps the other.
  [[nodiscard]] virtual std::vector<int> event_fds() const = 0;
  [[nodiscard]] virtual Result<Served> serve() = 0;
  // What came in since the last call.
  [[nodiscard]] virtual std::vector<News> take_news() = 0;
  virtual void open_gate() = 0;
  // New calls are not counted any more, those under way and frees still are.
  virtual void drain() = 0;
  // Counts no more and detaches everything. Afterwards no program runs any more, so that collect()
  // gives exact final figures.
  virtual void stop() = 0;
  [[nodiscard]] virtual Result<std::vector<GenerationState>> generations() const = 0;
  [[nodiscard]] virtual Result<Collected> collect(const Window& window) const = 0;
  // None where it costs next to nothing, or Settings::throttled was not said.
  [[nodiscard]] virtual Throttle* throttle() { return nullptr; }
  [[nodiscard]] virtual Extra* extra() { return nullptr; }
};

struct Shared;  // sources/shared.h
using OpenSource = Result<std::unique_ptr<Source>> (*)(const kernel::Facts&, const Settings&,
                                                       Shared&);

struct SourceRow {
  std::string_view name;
  OpenSource open;
};

// Every capability; an explicit table, since a static library drops what nobody names. Opened in
// this order: user_heap makes what the others share.
[[nodiscard]] std::span<const SourceRow> registry();

// All of them.
[[nodiscard]] Result<std::vector<std::unique_ptr<Source>>> open_sources(const kernel::Facts& facts,
                                                                        const Settings& settings);

}  // namespace tidemark::sources
