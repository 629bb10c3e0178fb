// SPDX-License-Identifier: Apache-2.0
//
// `tidemark trace`: attach, wait, report.
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>

#include "cli/commands.h"
#include "cli/wait.h"
#include "collect/collector.h"
#include "kernel/facts.h"
#include "model/analysis.h"
#include "report/builder.h"
#include "report/reporter.h"
#include "sources/source.h"
#include "support/clock.h"
#include "support/file.h"
#include "symbolize/process_symbolizer.h"
#include "system/process.h"

namespace tidemark::cli {
namespace {

constexpr std::string_view kStdout = "-";
constexpr Nanoseconds kLearning = std::chrono::milliseconds(250);
constexpr Nanoseconds kDraining = std::chrono::milliseconds(20);

class Tracer {
 public:
  Tracer(const TraceOptions& options, kernel::Facts facts)
      : options_(options), facts_(std::move(facts)) {}

  [[nodiscard]] Result<int> run();

 private:
  [[nodiscard]] Status attach();
  [[nodiscard]] Status prepare_to_wait();
  [[nodiscard]] Result<Event> learn();
  // Until the time is over, the targets are gone or a signal comes; reports at each interval.
  [[nodiscard]] Result<Event> run_for(std::optional<Nanoseconds> duration,
                                      std::optional<Nanoseconds> interval);
  [[nodiscard]] Status report();
  [[nodiscard]] report::TraceReport build(const model::Snapshot& snapshot,
                                          const std::vector<model::Finding>& findings);
  [[nodiscard]] Status write(const report::TraceReport& report);

  const TraceOptions& options_;
  kernel::Facts facts_;
  symbolize::ProcessSymbolizer symbolizer_;
  std::unique_ptr<collect::Collector> collector_;
  std::optional<Wait> wait_;
  std::optional<model::Snapshot> previous_;
  bool suspects_ = false;
};

Result<std::vector<std::unique_ptr<sources::Source>>> open_sources(const kernel::Facts& facts,
                                                                   const TraceOptions& options) {
  sources::Settings settings;
  settings.limits.max_blocks = options.max_blocks;
  settings.limits.max_stacks = options.max_stacks;
  if (options.probe_at_entry) settings.sites = sources::SiteChoice::kEntry;
  std::vector<std::unique_ptr<sources::Source>> opened;
  for (const sources::SourceRow& row : sources::registry()) {
    auto source = row.open(facts, settings);
    if (!source) return std::unexpected(source.error());
    opened.push_back(std::move(*source));
  }
  return opened;
}

Status Tracer::attach() {
  // A person's mistake in the pid is told before anything is loaded.
  for (const model::Pid pid : options_.pids) {
    if (const auto image = system::read_process(pid); !image) return std::unexpected(image.error());
  }
  auto opened = open_sources(facts_, options_);
  if (!opened) return std::unexpected(opened.error());
  collector_ = std::make_unique<collect::Collector>(
      std::move(*opened), collect::Readers{system::read_process, system::read_rss_anon_bytes},
      [this](model::Generation generation, const model::ProcessImage& image) {
        symbolizer_.learn(generation, image);
      });
  for (const model::Pid pid : options_.pids) {
    if (auto added = collector_->add_target(pid); !added) return added;
  }
  return prepare_to_wait();
}

// Only now, so that Ctrl-C ends an attach at once; the kernel takes the probes out.
Status Tracer::prepare_to_wait() {
  auto wait = Wait::make();
  if (!wait) return std::unexpected(wait.error());
  wait_ = std::move(*wait);
  for (const model::Pid pid : options_.pids) wait_->watch(pid);
  for (const int fd : collector_->event_fds()) wait_->watch_source(fd);
  return {};
}

// Stacks are walked before anything is counted, so that the unwind rules of the busy call sites are
// there.
Result<Event> Tracer::learn() {
  collector_->start_learning();
  return run_for(kLearning, std::nullopt);
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
      if (auto reported = report(); !reported) return std::unexpected(reported.error());
    } else if (*event == Event::kSource) {
      if (auto served = collector_->serve(monotonic_now()); !served)
        return std::unexpected(served.error());
    } else if (*event == Event::kTick) {
      if (auto refreshed = collector_->tick(monotonic_now()); !refreshed)
        return std::unexpected(refreshed.error());
    } else {
      return event;
    }
  }
}

report::TraceReport Tracer::build(const model::Snapshot& snapshot,
                                  const std::vector<model::Finding>& findings) {
  std::unordered_map<model::StackId, const model::Stack*> stacks;
  for (const model::Stack& stack : snapshot.stacks) stacks.emplace(stack.id, &stack);
  const auto names = [&](model::Generation owner, model::StackId id) -> std::vector<model::Frame> {
    const auto found = stacks.find(id);
    if (found == stacks.end()) return {};
    return symbolizer_.frames(owner, found->second->frames);
  };
  const report::BuildInfo info{
      .tool_version = TIDEMARK_VERSION, .kernel_release = facts_.release, .mode = {}};
  return report::build_trace_report(snapshot, findings, names, previous_ ? &*previous_ : nullptr,
                                    info);
}

Status Tracer::report() {
  auto snapshot = collector_->snapshot(monotonic_now());
  if (!snapshot) return std::unexpected(snapshot.error());
  const auto findings = model::analyse(*snapshot, {});
  suspects_ = std::ranges::any_of(findings, [](const model::Finding& finding) {
    return finding.severity != model::Severity::kInfo;
  });
  const auto written = write(build(*snapshot, findings));
  previous_ = std::move(*snapshot);
  return written;
}

Status Tracer::write(const report::TraceReport& report) {
  bool stdout_taken = false;
  for (const OutputFile& output : options_.outputs) {
    // With --every a format that can say a report on a line holds them all, the others the newest.
    const report::Reporter* line = options_.interval ? output.format->line_reporter : nullptr;
    const report::Reporter& reporter = line != nullptr ? *line : output.format->reporter;
    const std::string document = reporter.write(report, options_.text);
    if (output.path == kStdout) {
      stdout_taken = true;
      std::fputs(document.c_str(), stdout);
      continue;
    }
    const bool first = !previous_;
    const auto written = line != nullptr && !first ? ReplacedFile::append(output.path, document)
                                                   : ReplacedFile::write(output.path, document);
    if (!written) return written;
  }
  if (!stdout_taken) {
    std::fputs(report::formats().front().reporter.write(report, options_.text).c_str(), stdout);
  }
  std::fflush(stdout);
  return {};
}

Result<int> Tracer::run() {
  for (const OutputFile& output : options_.outputs) {
    if (output.path == kStdout) continue;
    if (auto writable = ReplacedFile::check_writable(output.path); !writable) {
      return std::unexpected(writable.error());
    }
  }
  if (auto attached = attach(); !attached) return std::unexpected(attached.error());
  auto end = learn();
  if (!end) return std::unexpected(end.error());
  collector_->open_gate(monotonic_now(), wall_now());
  fmt::print(stderr, "tidemark: tracing\n");
  if (*end == Event::kDurationOver) end = run_for(options_.duration, options_.interval);
  if (!end) return std::unexpected(end.error());
  const MonotonicTime ended = monotonic_now();
  collector_->drain();
  std::this_thread::sleep_for(kDraining);
  collector_->stop(ended);
  if (auto reported = report(); !reported) return std::unexpected(reported.error());
  return suspects_ && options_.fail_on_suspect ? kExitSuspects : kExitDone;
}

}  // namespace

Result<int> run(const TraceOptions& options) {
  return Tracer(options, kernel::probe_host()).run();
}

}  // namespace tidemark::cli
