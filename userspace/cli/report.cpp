// SPDX-License-Identifier: Apache-2.0
//
// `tidemark report`: look, judge, say; once or on a clock.
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>
#include <utility>

#include "cli/commands.h"
#include "cli/wait.h"
#include "collect/memory_owners.h"
#include "collect/pace.h"
#include "collect/snapshot_store.h"
#include "report/memory_report.h"
#include "sources/passing_processes.h"
#include "support/clock.h"
#include "support/file.h"
#include "system/reader.h"

namespace tidemark::cli {
namespace {

constexpr std::string_view kStdout = "-";
// Files of each tmpfs that are looked at; fewer where it is done again and again.
constexpr std::size_t kTmpfsEntries = 100'000;
constexpr std::size_t kTmpfsEntriesOften = 5'000;
// Of one CPU, for reports of a series that make the kernel walk page tables.
constexpr double kWalkShare = 0.001;

std::string kernel_release() {
  utsname name{};
  return ::uname(&name) == 0 ? name.release : "unknown";
}

class MemoryReporter {
 public:
  explicit MemoryReporter(const ReportOptions& options)
      : options_(options),
        owners_({.tmpfs_entries = options.interval ? kTmpfsEntriesOften : kTmpfsEntries}) {}

  [[nodiscard]] Result<int> run();

 private:
  [[nodiscard]] Status prepare();
  [[nodiscard]] report::MemoryReport look();
  void read_counters(model::MemorySnapshot& snapshot);
  [[nodiscard]] std::optional<std::vector<model::PassedName>> take_passed(
      model::MemorySnapshot& snapshot);
  [[nodiscard]] Status report();
  [[nodiscard]] Status write(const report::MemoryReport& report);
  [[nodiscard]] Status write_json(const report::MemoryReport& report);
  [[nodiscard]] Status repeat();

  const ReportOptions& options_;
  collect::OwnersReader owners_;
  std::optional<collect::SnapshotStore> store_;
  std::optional<Wait> wait_;  // of a series
  collect::Pace walks_{kWalkShare};
  // Also of a series: who comes and goes between two reports, and who the last two reports have.
  Result<sources::PassingProcesses> passing_ = fail("not watched");
  std::array<std::set<model::ProcessKey>, 2> listed_;
  bool first_ = true;
  bool suspects_ = false;
};

// In a series, page tables are walked as often as their share of a CPU allows.
void MemoryReporter::read_counters(model::MemorySnapshot& snapshot) {
  const system::HostRoot root;
  if (!options_.interval) return system::read_memory({root, system::ReadPlan{}}, snapshot);
  using system::PageTables;
  const bool walk = walks_.is_due(snapshot.taken_ns);
  const auto plan = system::frequent_plan(walk ? PageTables::kWalked : PageTables::kLeftAlone);
  const CpuTime before = thread_cpu_now();
  system::read_memory({root, plan}, snapshot);
  if (walk) walks_.done(snapshot.taken_ns, thread_cpu_now().ns - before.ns);
}

std::optional<std::vector<model::PassedName>> MemoryReporter::take_passed(
    model::MemorySnapshot& snapshot) {
  constexpr const char* kHook = "sched_process_exit";
  auto taken = passing_ ? passing_->take() : std::unexpected(passing_.error());
  if (!taken) {
    snapshot.coverage.push_back(
        {kHook, model::HookState::kMissing,
         fmt::format("who comes and goes between two reports is not seen: {}",
                     taken.error().text)});
    return std::nullopt;
  }
  std::optional<std::string> note;
  if (taken->not_kept > 0) {
    note = fmt::format("the names of {} processes that came and went were not kept: too many",
                       taken->not_kept);
  }
  snapshot.coverage.push_back({kHook, model::HookState::kOn, note});
  std::erase_if(taken->processes, [&](const model::PassedProcess& process) {
    return std::ranges::any_of(listed_,
                               [&](const auto& keys) { return keys.contains(process.key); });
  });
  return model::by_name(taken->processes);
}

// The counters first: to ask for the owners takes memory and moves them.
report::MemoryReport MemoryReporter::look() {
  model::MemorySnapshot snapshot;
  snapshot.taken_unix_ns = wall_now().unix_ns;
  snapshot.taken_ns = monotonic_now().ns;
  snapshot.kernel_release = kernel_release();
  snapshot.page_bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  std::optional<std::vector<model::PassedName>> passed;
  if (options_.interval) passed = take_passed(snapshot);
  read_counters(snapshot);
  if (snapshot.processes) {
    listed_[0] = std::exchange(listed_[1], model::keys_of(*snapshot.processes));
  }
  auto report = report::build_memory_report(snapshot, owners_.read());
  report.passed = std::move(passed);
  return report;
}

Status MemoryReporter::prepare() {
  if (options_.json_path && *options_.json_path != kStdout) {
    if (auto ok = ReplacedFile::check_writable(*options_.json_path); !ok) return ok;
  }
  if (options_.interval) {
    // Ahead of the first report, so that a signal during it ends the series as any other does.
    auto wait = Wait::make();
    if (!wait) return std::unexpected(wait.error());
    wait->outlast_targets();  // there are none
    wait_ = std::move(*wait);
    passing_ = sources::PassingProcesses::open();
  }
  if (!options_.store) return {};
  auto store = collect::SnapshotStore::open(*options_.store, options_.store_limit_bytes);
  if (!store) return std::unexpected(store.error());
  store_ = std::move(*store);
  return {};
}

Status MemoryReporter::write_json(const report::MemoryReport& report) {
  const bool lines = options_.interval.has_value();
  const std::string document =
      report::write_memory_json(report, lines ? report::JsonLines::kOne : report::JsonLines::kMany);
  if (*options_.json_path == kStdout) {
    std::fputs(document.c_str(), stdout);
    return {};
  }
  return lines && !first_ ? ReplacedFile::append(*options_.json_path, document)
                          : ReplacedFile::write(*options_.json_path, document);
}

Status MemoryReporter::write(const report::MemoryReport& report) {
  if (options_.json_path) {
    if (auto ok = write_json(report); !ok) return ok;
  }
  if (store_) {
    const auto path = store_->add(report.taken_unix_ns,
                                  report::write_memory_json(report, report::JsonLines::kMany));
    if (!path) return std::unexpected(path.error());
    if (!options_.quiet) fmt::print(stderr, "tidemark: kept {}\n", *path);
  }
  // A store on a clock is for later: its pages would only run by.
  const bool text = options_.json_path != kStdout && !(store_ && options_.interval);
  if (text) std::fputs(report::write_memory_text(report, options_.text).c_str(), stdout);
  std::fflush(stdout);
  return {};
}

Status MemoryReporter::report() {
  const auto report = look();
  suspects_ = std::ranges::any_of(report.verdicts, [](const model::Finding& finding) {
    return finding.severity != model::Severity::kInfo;
  });
  const auto written = write(report);
  first_ = false;
  return written;
}

Status MemoryReporter::repeat() {
  if (auto started = wait_->start(options_.duration, options_.interval); !started) return started;
  for (;;) {
    const auto event = wait_->next();
    if (!event) return std::unexpected(event.error());
    if (*event == Event::kSignal) return {};
    if (*event == Event::kDurationOver || *event == Event::kReport) {
      if (auto ok = report(); !ok) return ok;
    }
    if (*event == Event::kDurationOver) return {};
  }
}

Result<int> MemoryReporter::run() {
  if (auto ok = prepare(); !ok) return std::unexpected(ok.error());
  if (auto ok = report(); !ok) return std::unexpected(ok.error());
  if (options_.interval) {
    if (auto ok = repeat(); !ok) return std::unexpected(ok.error());
  }
  return suspects_ && options_.fail_on_suspect ? kExitSuspects : kExitDone;
}

}  // namespace

Result<int> run(const ReportOptions& options) {
  return MemoryReporter(options).run();
}

}  // namespace tidemark::cli
