// SPDX-License-Identifier: Apache-2.0
//
// `tidemark kernel`: attach, wait, report.
#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "cli/commands.h"
#include "cli/wait.h"
#include "collect/kernel_collector.h"
#include "model/kernel_analysis.h"
#include "model/stack_index.h"
#include "report/kernel_report.h"
#include "sources/kernel_memory.h"
#include "support/clock.h"
#include "support/file.h"
#include "symbolize/kernel_symbolizer.h"
#include "system/cgroup_paths.h"
#include "system/kernel_records.h"

namespace tidemark::cli {
namespace {

constexpr std::string_view kStdout = "-";
constexpr uint64_t kGrowthEveryNs = 1'000'000'000;

std::string kernel_release() {
  utsname name{};
  return ::uname(&name) == 0 ? name.release : "unknown";
}

Result<symbolize::KernelSymbols> read_symbols() {
  const auto text = read_file("/proc/kallsyms");
  if (!text) return std::unexpected(text.error());
  return symbolize::KernelSymbols::parse(*text);
}

sources::StackMode to_mode(KernelStacks stacks) {
  switch (stacks) {
    case KernelStacks::kNever:
      return sources::StackMode::kNever;
    case KernelStacks::kGrowing:
      return sources::StackMode::kGrowing;
    case KernelStacks::kAlways:
      return sources::StackMode::kAlways;
  }
  return sources::StackMode::kGrowing;
}

sources::HookMode to_mode(KernelHooks hooks) {
  switch (hooks) {
    case KernelHooks::kAuto:
      return sources::HookMode::kAuto;
    case KernelHooks::kTracepoints:
      return sources::HookMode::kTracepoints;
    case KernelHooks::kTracing:
      return sources::HookMode::kTracing;
    case KernelHooks::kKprobes:
      return sources::HookMode::kKprobes;
  }
  return sources::HookMode::kAuto;
}

std::string spaces_text(const KernelOptions& options) {
  std::string text;
  for (const auto& [on, name] : {std::pair{options.slab, "slab"},
                                 {options.pages, "pages"},
                                 {options.vmalloc, "vmalloc"},
                                 {options.percpu, "percpu"}}) {
    if (on) text += fmt::format("{}{}", text.empty() ? "" : ", ", name);
  }
  return text;
}

// A group that is gone has the name that the kernel keeps, and no path.
void name_cgroups(std::vector<model::CallSite>& sites) {
  const auto paths = system::read_cgroup_paths(system::HostRoot());
  for (model::CallSite& site : sites) {
    for (model::CgroupShare& share : site.owners.cgroups) {
      const auto found = paths.find(share.id);
      if (found != paths.end()) share.path = found->second;
    }
  }
}

class KernelTracer {
 public:
  explicit KernelTracer(const KernelOptions& options) : options_(options) {}

  [[nodiscard]] Result<int> run();

 private:
  [[nodiscard]] Status open();
  [[nodiscard]] Result<sources::KernelSettings> settings();
  void learn_modules();
  [[nodiscard]] model::Coverage line_coverage();
  [[nodiscard]] Status tick();
  [[nodiscard]] Status wait();
  [[nodiscard]] Status report();
  [[nodiscard]] Status write(const report::KernelReport& report);

  const KernelOptions& options_;
  std::optional<symbolize::KernelSymbolizer> symbolizer_;
  std::unique_ptr<collect::KernelCollector> collector_;
  std::optional<Wait> wait_;
  std::optional<model::KernelSnapshot> previous_;
  std::string modules_;  // as listed when the symbols were read
  MonotonicTime looked_;
  system::KernelRecords older_;  // as they were before the trace began
  bool suspects_ = false;
};

Result<sources::KernelSettings> KernelTracer::settings() {
  sources::KernelSettings settings;
  settings.spaces = {.slab = options_.slab,
                     .pages = options_.pages,
                     .vmalloc = options_.vmalloc,
                     .percpu = options_.percpu};
  settings.stacks = to_mode(options_.stacks);
  settings.movable_pages = options_.movable_pages;
  settings.max_blocks = options_.max_blocks;
  settings.max_stacks = options_.max_stacks;
  auto caches = collect::resolve_caches(options_.caches);
  if (!caches) return std::unexpected(caches.error());
  settings.caches = std::move(*caches);
  const auto value_of = [&](const char* name) -> std::optional<uint64_t> {
    const auto address = symbolizer_->symbols().address_of(name);
    return address ? std::optional(address->value) : std::nullopt;
  };
  settings.hooks = to_mode(options_.hooks);
  settings.has_function = [this](std::string_view name) {
    return symbolizer_->symbols().address_of(name).has_value();
  };
  settings.symbols = {value_of("vmemmap_base"), value_of("page_offset_base"),
                      value_of("__per_cpu_offset")};
  return settings;
}

Status KernelTracer::open() {
  if (options_.json_path && *options_.json_path != kStdout) {
    if (auto ok = ReplacedFile::check_writable(*options_.json_path); !ok) return ok;
  }
  auto symbols = read_symbols();
  if (!symbols) return std::unexpected(symbols.error());
  symbolize::KernelLines lines(kernel_release(), symbols->address_of("_stext"));
  symbolizer_.emplace(std::move(*symbols), std::move(lines));
  modules_ = read_file("/proc/modules").value_or("");
  const auto chosen = settings();
  if (!chosen) return std::unexpected(chosen.error());
  older_ = system::read_kernel_records(system::HostRoot());
  auto source = sources::KernelMemory::open(*chosen);
  if (!source) return std::unexpected(source.error());
  collector_ = std::make_unique<collect::KernelCollector>(std::move(*source));
  auto wait = Wait::make();
  if (!wait) return std::unexpected(wait.error());
  wait_ = std::move(*wait);
  wait_->outlast_targets();  // there are none
  return {};
}

// A module that comes while we trace gets names; one that goes keeps them.
void KernelTracer::learn_modules() {
  std::string modules = read_file("/proc/modules").value_or("");
  if (modules == modules_) return;
  modules_ = std::move(modules);
  if (auto symbols = read_symbols()) symbolizer_->learn(std::move(*symbols));
}

model::Coverage KernelTracer::line_coverage() {
  auto reason = symbolizer_->why_no_lines();
  const auto state = reason ? model::HookState::kOff : model::HookState::kOn;
  return {"source lines of the kernel", state, std::move(reason)};
}

Status KernelTracer::tick() {
  const MonotonicTime now = monotonic_now();
  if (now.ns - looked_.ns < kGrowthEveryNs) return {};
  looked_ = now;
  learn_modules();
  return collector_->tick(now);
}

Status KernelTracer::wait() {
  if (auto started = wait_->start(options_.duration, options_.interval); !started) return started;
  for (;;) {
    const auto event = wait_->next();
    if (!event) return std::unexpected(event.error());
    if (*event == Event::kReport) {
      if (auto reported = report(); !reported) return reported;
    } else if (*event == Event::kTick) {
      if (auto ticked = tick(); !ticked) return ticked;
    } else {
      return {};
    }
  }
}

Status KernelTracer::report() {
  learn_modules();
  auto snapshot = collector_->snapshot(monotonic_now());
  if (!snapshot) return std::unexpected(snapshot.error());
  snapshot->trace.coverage.push_back(line_coverage());
  for (const system::KernelBook& book : older_.books) {
    const auto state = book.absent ? model::HookState::kOff : model::HookState::kOn;
    snapshot->trace.coverage.push_back({book.name, state, book.absent});
  }
  name_cgroups(snapshot->trace.call_sites);
  const auto findings = model::analyse_kernel(*snapshot, {});
  suspects_ = std::ranges::any_of(findings, [](const model::Finding& finding) {
    return finding.severity != model::Severity::kInfo;
  });
  const model::StackIndex stacks = model::index_stacks(snapshot->trace.stacks);
  const auto names = [&](model::Generation owner, model::StackId id) -> std::vector<model::Frame> {
    const auto found = stacks.find(id);
    if (found == stacks.end()) return {};
    return symbolize::from_caller(symbolizer_->frames(owner, found->second->frames));
  };
  const report::BuildInfo info{
      .tool_version = TIDEMARK_VERSION, .kernel_release = kernel_release(), .mode = {}};
  auto built = report::build_kernel_report(
      *snapshot, findings, names, previous_ ? &*previous_ : nullptr, info, spaces_text(options_));
  built.older = older_.rows;
  const auto written = write(built);
  previous_ = std::move(*snapshot);
  return written;
}

Status KernelTracer::write(const report::KernelReport& report) {
  if (options_.json_path) {
    const bool lines = options_.interval.has_value();
    const std::string document = report::write_kernel_json(
        report, lines ? report::JsonLines::kOne : report::JsonLines::kMany);
    if (*options_.json_path == kStdout) {
      std::fputs(document.c_str(), stdout);
    } else {
      const auto written = lines && previous_ ? ReplacedFile::append(*options_.json_path, document)
                                              : ReplacedFile::write(*options_.json_path, document);
      if (!written) return written;
    }
  }
  if (options_.json_path != kStdout)
    std::fputs(report::write_kernel_text(report, options_.text).c_str(), stdout);
  std::fflush(stdout);
  return {};
}

Result<int> KernelTracer::run() {
  if (auto opened = open(); !opened) return std::unexpected(opened.error());
  if (auto opened = collector_->open_gate(monotonic_now(), wall_now()); !opened)
    return std::unexpected(opened.error());
  fmt::print(stderr, "tidemark: tracing\n");
  if (auto waited = wait(); !waited) return std::unexpected(waited.error());
  if (auto stopped = collector_->stop(); !stopped) return std::unexpected(stopped.error());
  if (auto reported = report(); !reported) return std::unexpected(reported.error());
  return suspects_ && options_.fail_on_suspect ? kExitSuspects : kExitDone;
}

}  // namespace

Result<int> run(const KernelOptions& options) {
  return KernelTracer(options).run();
}

}  // namespace tidemark::cli
