// SPDX-License-Identifier: Apache-2.0
//
// `tidemark trace`: attach, wait, report.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "bpfrt/mapping_events.h"
#include "cli/auto_targets.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/growth.h"
#include "cli/growth_watch.h"
#include "cli/source_lines.h"
#include "cli/trace_audit.h"
#include "cli/trace_output.h"
#include "cli/trace_setup.h"
#include "cli/wait.h"
#include "collect/collector.h"
#include "collect/window_figures.h"
#include "kernel/facts.h"
#include "model/analysis.h"
#include "report/builder.h"
#include "report/growth_builder.h"
#include "sources/source.h"
#include "support/clock.h"
#include "symbolize/process_symbolizer.h"
#include "system/pagemap.h"
#include "system/process.h"
#include "system/process_list.h"

namespace tidemark::cli {
namespace {

constexpr Nanoseconds kLearning = std::chrono::milliseconds(250);
// Under a budget: what is learnt is paid for, and a busy target has to be throttled soon.
constexpr Nanoseconds kGlance = std::chrono::milliseconds(10);
constexpr Nanoseconds kLearningOnABudget = std::chrono::milliseconds(20);
constexpr Nanoseconds kTickOnABudget = std::chrono::milliseconds(25);
constexpr Nanoseconds kDraining = std::chrono::milliseconds(20);
constexpr uint64_t kLookAroundNs = 2'000'000'000;
constexpr uint64_t kSilenceNs = 1'000'000'000;

class Tracer {
 public:
  Tracer(const TraceOptions& options, kernel::Facts facts)
      : options_(options),
        facts_(std::move(facts)),
        selection_(options.selection),
        audit_(options.audit) {}

  [[nodiscard]] Result<int> run();

 private:
  [[nodiscard]] Status attach();
  [[nodiscard]] Status open_collector();
  [[nodiscard]] Status add_targets();
  [[nodiscard]] Status prepare_to_wait();
  [[nodiscard]] Status tick();
  void look_around();
  [[nodiscard]] Status look_who_grows(MonotonicTime now);
  [[nodiscard]] Status add_growth(report::TraceReport& report, bool is_last);
  void tell_progress(std::size_t done, std::size_t all);
  void listen(Result<bpfrt::MappingEvents> events);
  void hear_mappings();
  void consider(const sources::News& news);
  void join(model::Pid pid);
  [[nodiscard]] Result<Event> learn();
  // Until the time is over, the targets are gone or a signal comes; reports at each interval.
  [[nodiscard]] Result<Event> run_for(std::optional<Nanoseconds> duration,
                                      std::optional<Nanoseconds> interval);
  [[nodiscard]] Status look(audit::Depth depth);
  void look_at_new();
  [[nodiscard]] Status report(bool is_last);
  [[nodiscard]] Status report_if_due();
  [[nodiscard]] report::TraceReport build(const model::Snapshot& snapshot,
                                          const std::vector<model::Finding>& findings);

  const TraceOptions& options_;
  kernel::Facts facts_;
  symbolize::ProcessSymbolizer symbolizer_;
  std::unique_ptr<collect::Collector> collector_;
  model::Selection selection_;
  std::optional<TracedCommand> command_;
  std::optional<bpfrt::MappingEvents> mapped_;  // by the command, or with --all by everybody
  std::optional<Wait> wait_;
  TraceAudit audit_;
  std::unique_ptr<GrowthWatch> growth_;  // none where the targets were named
  AutoTargets auto_targets_;
  MonotonicTime looked_around_;
  MonotonicTime ticked_;
  std::optional<model::Snapshot> previous_;
  bool is_open_ = false;
  bool report_is_due_ = false;
  bool told_progress_ = false;
  bool suspects_ = false;
};

model::Mapping to_mapping(const bpfrt::MappedCode& code) {
  model::Mapping mapping;
  mapping.start = model::Address{code.start};
  mapping.end = model::Address{code.start + code.size_bytes};
  mapping.file_offset_bytes = code.file_offset_bytes;
  mapping.file = {code.device_major, code.device_minor, code.inode};
  mapping.executable = true;
  if (code.inode != 0 || code.path.starts_with('[')) mapping.path = code.path;
  return mapping;
}

void set_mode(const model::Snapshot& snapshot, double budget_percent, report::Mode& mode) {
  mode.budget_percent = budget_percent;
  mode.budget = snapshot.budget;
  if (!snapshot.budget) return;
  const model::GovernorAccount& account = *snapshot.budget;
  mode.exact = account.sampled_ns == 0 && account.paused_ns == 0;
  mode.duty_ratio = account.duty_ratio();
  if (account.longest_interval_bytes != 0)
    mode.sampling_interval_bytes = account.longest_interval_bytes;
}

Status Tracer::attach() {
  if (auto checked = check_selection(selection_); !checked) return checked;
  if (options_.debuginfod) {
    if (auto used = use_debuginfod(symbolizer_); !used) return used;
  }
  // Before anything of ours is made that a child would inherit.
  if (!selection_.command.empty()) {
    auto command = TracedCommand::prepare(selection_.command);
    if (!command) return std::unexpected(command.error());
    command_.emplace(std::move(*command));
    selection_.children_of.push_back(command_->pid());
  }
  if (options_.mode == TraceMode::kAuto) {
    auto growth = GrowthWatch::open(options_, facts_);
    if (!growth) return std::unexpected(growth.error());
    growth_ = std::move(*growth);
  }
  if (auto opened = open_collector(); !opened) return opened;
  if (auto prepared = prepare_to_wait(); !prepared) return prepared;
  return add_targets();
}

Status Tracer::open_collector() {
  auto opened = sources::open_sources(facts_, settings_for(facts_, options_, selection_));
  if (!opened) return std::unexpected(opened.error());
  collect::Readers readers{system::read_process,
                           system::read_rss_anon_bytes,
                           system::read_resident,
                           {},
                           {system::read_cpu_ns, system::read_user_cpu_ns},
                           {}};
  if (!facts_.seccomp_returns.present) {
    readers.may_probe = [this](model::Pid pid) -> Status {
      if (!system::is_under_seccomp(pid)) return {};
      return fail("process {} runs under a seccomp filter: {}", pid.value,
                  facts_.seccomp_returns.reason);
    };
  }
  if (selection_.is_group()) {
    readers.place = [this](model::Generation owner, model::Address address) {
      return symbolizer_.place(owner, address);
    };
  }
  collector_ = std::make_unique<collect::Collector>(
      std::move(*opened), std::move(readers),
      [this](model::Generation generation, const model::ProcessImage& image) {
        symbolizer_.learn(generation, image);
      });
  // An audit that can't be made is told by its coverage.
  if (options_.budget_percent)
    collector_->keep_budget(*options_.budget_percent / 100, [this] { look_at_new(); });
  return {};
}

Status Tracer::add_targets() {
  for (const model::Pid pid : selection_.pids) {
    if (auto added = collector_->add_target(pid); !added) return added;
    wait_->watch(pid);
  }
  if (command_) {
    wait_->watch(command_->pid());
    listen(bpfrt::MappingEvents::of_process(command_->pid().value));
    return collector_->expect(command_->pid(), command_->expected_image());
  }
  if (selection_.all) listen(bpfrt::MappingEvents::of_machine());
  look_around();
  return {};
}

// Without it names of what lives for milliseconds depend on our being quick: no reason not to
// trace.
void Tracer::listen(Result<bpfrt::MappingEvents> events) {
  if (!events) return;
  mapped_.emplace(std::move(*events));
  for (const int fd : mapped_->event_fds()) wait_->watch_source(fd);
}

// From here on Ctrl-C is an event.
Status Tracer::prepare_to_wait() {
  auto wait = Wait::make();
  if (!wait) return std::unexpected(wait.error());
  wait_ = std::move(*wait);
  for (const model::Pid parent : selection_.children_of) wait_->watch(parent);
  if (selection_.all || !selection_.comms.empty() || !selection_.cgroups.empty() || growth_)
    wait_->outlast_targets();
  if (growth_) {
    for (const int fd : growth_->collector().event_fds()) wait_->watch_source(fd);
  }
  if (options_.budget_percent) wait_->tick_every(kTickOnABudget);
  for (const int fd : collector_->event_fds()) wait_->watch_source(fd);
  return {};
}

// Members of the group that the news have not told of: renamed or moved into the cgroup since.
void Tracer::look_around() {
  looked_around_ = monotonic_now();
  if (!selection_.is_group() || command_) return;
  const auto chosen = model::select(selection_, system::list_processes(), model::Pid{::getpid()});
  for (std::size_t at = 0; at < chosen.size(); ++at) {
    join(chosen[at]);
    tell_progress(at + 1, chosen.size());
  }
}

// One line, where attaching takes long enough for somebody to wonder.
void Tracer::tell_progress(std::size_t done, std::size_t all) {
  if (told_progress_ || done == all) return;
  if (monotonic_now().ns - looked_around_.ns < kSilenceNs) return;
  told_progress_ = true;
  fmt::print(stderr, "tidemark: attaching, {} of {} processes so far\n", done, all);
}

// What is mapped is told while the process lives; /proc may be too late.
void Tracer::hear_mappings() {
  if (!mapped_) return;
  collect::Collector::MappingNews events;
  mapped_->consume({.exec =
                        [&](pid_t pid, std::string_view comm) {
                          events[model::Pid{pid}].emplace_back(
                              model::ImageReplaced{std::string(comm)});
                        },
                    .mapped =
                        [&](pid_t pid, const bpfrt::MappedCode& code) {
                          events[model::Pid{pid}].emplace_back(model::CodeMapped{to_mapping(code)});
                        }});
  if (!events.empty()) collector_->hear(events);
}

void Tracer::join(model::Pid pid) {
  if (collector_->join(pid) && !selection_.all) wait_->watch(pid);
}

// A child of the group's own is in it for good where children were asked for; else its name and its
// cgroup decide.
void Tracer::consider(const sources::News& news) {
  if (news.child && !selection_.children_of.empty()) return join(news.pid);
  const auto entry = system::read_entry(news.pid);
  if (!entry) return;
  if (!model::select(selection_, std::span(&*entry, 1), model::Pid{::getpid()}).empty()) {
    join(news.pid);
  }
}

// Nobody is traced before the gate is open.
Status Tracer::look_who_grows(MonotonicTime now) {
  if (!growth_ || !is_open_) return {};
  const auto looked = growth_->collector().tick(now);
  if (!looked) return std::unexpected(looked.error());
  if (*looked) auto_targets_.follow(growth_->collector(), *collector_);
  return {};
}

Status Tracer::add_growth(report::TraceReport& report, bool is_last) {
  if (!growth_) return {};
  const auto snapshot = growth_->snapshot(monotonic_now(), is_last);
  if (!snapshot) return std::unexpected(snapshot.error());
  report::add_growth(report, *snapshot, growth_->names_of(*snapshot));
  for (model::Coverage& row : auto_targets_.coverage()) report.coverage.push_back(std::move(row));
  return {};
}

Status Tracer::tick() {
  const MonotonicTime now = monotonic_now();
  ticked_ = now;
  if (auto looked = look_who_grows(now); !looked) return looked;
  if (now.ns - looked_around_.ns > kLookAroundNs) look_around();
  if (auto ticked = collector_->tick(now); !ticked) return ticked;
  // What takes long waits for the end of a window, which would be kept open by it.
  if (collector_->is_in_window()) return {};
  if (audit_.is_due(now)) {
    if (auto looked = look(audit::Depth::kQuick); !looked) return looked;
  }
  return report_if_due();
}

Status Tracer::report_if_due() {
  if (!report_is_due_ || collector_->is_in_window()) return {};
  report_is_due_ = false;
  return report(false);
}

// Stacks are walked before anything is counted, so that the unwind rules of the busy call sites are
// there.
Result<Event> Tracer::learn() {
  if (options_.budget_percent) {
    // A target that is too busy for its budget is known soon, and let go before it is learnt from.
    if (auto ticked = tick(); !ticked) return std::unexpected(ticked.error());
    std::this_thread::sleep_for(kGlance);
    if (auto ticked = tick(); !ticked) return std::unexpected(ticked.error());
  }
  collector_->start_learning();
  return run_for(options_.budget_percent ? kLearningOnABudget : kLearning, std::nullopt);
}

Result<Event> Tracer::run_for(std::optional<Nanoseconds> duration,
                              std::optional<Nanoseconds> interval) {
  if (auto started = wait_->start(duration, interval); !started) {
    return std::unexpected(started.error());
  }
  for (;;) {
    const auto event = wait_->next();
    if (!event) return event;
    if (*event == Event::kReport) {
      report_is_due_ = true;
      if (auto reported = report_if_due(); !reported) return std::unexpected(reported.error());
    } else if (*event == Event::kSource) {
      hear_mappings();
      if (growth_) {
        if (auto served = growth_->collector().serve(); !served)
          return std::unexpected(served.error());
      }
      if (auto served = collector_->serve(monotonic_now()); !served)
        return std::unexpected(served.error());
      for (const sources::News& news : collector_->take_news()) consider(news);
      // A target that starts to be busy has much to ask, and must not cost what it likes meanwhile.
      if (options_.budget_percent &&
          monotonic_now().ns - ticked_.ns > static_cast<uint64_t>(kTickOnABudget.count())) {
        if (auto ticked = tick(); !ticked) return std::unexpected(ticked.error());
      }
    } else if (*event == Event::kTick) {
      if (auto ticked = tick(); !ticked) return std::unexpected(ticked.error());
    } else {
      return event;
    }
  }
}

report::TraceReport Tracer::build(const model::Snapshot& snapshot,
                                  const std::vector<model::Finding>& findings) {
  report::BuildInfo info{
      .tool_version = TIDEMARK_VERSION, .kernel_release = facts_.release, .mode = {}};
  if (options_.sampling_interval_bytes != 0) {
    info.mode.exact = false;
    info.mode.sampling_interval_bytes = options_.sampling_interval_bytes;
  }
  if (options_.budget_percent) set_mode(snapshot, *options_.budget_percent, info.mode);
  return report::build_trace_report(snapshot, findings, names_of(symbolizer_, snapshot.stacks),
                                    previous_ ? &*previous_ : nullptr, info);
}

// What is judged is a later snapshot: a block whose free was seen while we looked is not in it.
Status Tracer::look(audit::Depth depth) {
  if (!audit_.is_on()) return {};
  const auto snapshot = collector_->snapshot(monotonic_now());
  if (!snapshot) return std::unexpected(snapshot.error());
  audit_.look(*snapshot, depth, monotonic_now());
  return {};
}

// The last chance to see blocks while it is certain that they are those that were born.
void Tracer::look_at_new() {
  if (!audit_.is_on()) return;
  const MonotonicTime now = monotonic_now();
  if (const auto snapshot = collector_->live_blocks(now)) audit_.look_at_new(*snapshot, now);
}

Status Tracer::report(bool is_last) {
  hear_mappings();
  if (!is_last) {
    if (auto looked = look(audit::Depth::kThorough); !looked) return looked;
  }
  auto snapshot = collector_->snapshot(monotonic_now());
  if (!snapshot) return std::unexpected(snapshot.error());
  audit_.settle(*snapshot);
  collect::estimate_windows(*snapshot);
  std::ranges::move(learn_source_lines(symbolizer_, *snapshot, options_, is_last, monotonic_now()),
                    std::back_inserter(snapshot->coverage));
  const auto findings = model::analyse(*snapshot, {});
  suspects_ = std::ranges::any_of(findings, [](const model::Finding& finding) {
    return finding.severity != model::Severity::kInfo;
  });
  report::TraceReport built = build(*snapshot, findings);
  if (auto added = add_growth(built, is_last); !added) return added;
  const auto written =
      write_report(built, options_, previous_ ? Position::kLater : Position::kFirst);
  previous_ = std::move(*snapshot);
  return written;
}

Result<int> Tracer::run() {
  if (auto checked = check_outputs(options_); !checked) return std::unexpected(checked.error());
  if (auto attached = attach(); !attached) return std::unexpected(attached.error());
  // A command has nothing to be learned from before it runs.
  auto end = command_ ? Result<Event>(Event::kDurationOver) : learn();
  if (!end) return std::unexpected(end.error());
  collector_->open_gate(monotonic_now(), wall_now());
  if (growth_) {
    if (auto opened = growth_->collector().open_gate(monotonic_now(), wall_now()); !opened)
      return std::unexpected(opened.error());
  }
  is_open_ = true;
  audit_.start(monotonic_now());
  fmt::print(stderr, "tidemark: tracing\n");
  if (command_) {
    if (auto gone = command_->let_go(); !gone) return std::unexpected(gone.error());
  }
  // A budget that the first moments went beyond is kept from here on.
  if (options_.budget_percent) {
    if (auto ticked = tick(); !ticked) return std::unexpected(ticked.error());
  }
  if (*end == Event::kDurationOver) end = run_for(options_.duration, options_.interval);
  if (!end) return std::unexpected(end.error());
  // Of processes that are gone there is nothing to be looked up.
  if (*end != Event::kTargetsGone) {
    if (auto looked = look(audit::Depth::kThorough); !looked)
      return std::unexpected(looked.error());
  }
  const MonotonicTime ended = monotonic_now();
  if (growth_) growth_->collector().stop();
  collector_->drain();
  std::this_thread::sleep_for(kDraining);
  collector_->stop(ended);
  if (auto reported = report(true); !reported) return std::unexpected(reported.error());
  return suspects_ && options_.fail_on_suspect ? kExitSuspects : kExitDone;
}

}  // namespace

Result<int> run(const TraceOptions& options) {
  if (options.mode == TraceMode::kGrowth) return run_growth(options, kernel::probe_host());
  return Tracer(options, kernel::probe_host()).run();
}

}  // namespace tidemark::cli
