// SPDX-License-Identifier: Apache-2.0
#include "cli/growth.h"

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "cli/commands.h"
#include "cli/growth_watch.h"
#include "cli/trace_output.h"
#include "cli/wait.h"
#include "report/growth_builder.h"
#include "support/clock.h"

namespace tidemark::cli {
namespace {

class GrowthTracer {
 public:
  GrowthTracer(const TraceOptions& options, const kernel::Facts& facts)
      : options_(options), facts_(facts) {}

  [[nodiscard]] Result<int> run();

 private:
  [[nodiscard]] Status open();
  [[nodiscard]] Status wait();
  [[nodiscard]] Status report(bool is_last);

  const TraceOptions& options_;
  const kernel::Facts& facts_;
  std::unique_ptr<GrowthWatch> watch_;
  std::optional<Wait> wait_;
  Position position_ = Position::kFirst;
  bool suspects_ = false;
};

Status GrowthTracer::open() {
  if (auto checked = check_outputs(options_); !checked) return checked;
  auto watch = GrowthWatch::open(options_, facts_);
  if (!watch) return std::unexpected(watch.error());
  watch_ = std::move(*watch);
  auto wait = Wait::make();
  if (!wait) return std::unexpected(wait.error());
  wait_ = std::move(*wait);
  wait_->outlast_targets();  // there are none
  for (const int fd : watch_->collector().event_fds()) wait_->watch_source(fd);
  return {};
}

Status GrowthTracer::wait() {
  if (auto started = wait_->start(options_.duration, options_.interval); !started) return started;
  for (;;) {
    const auto event = wait_->next();
    if (!event) return std::unexpected(event.error());
    if (*event == Event::kReport) {
      if (auto reported = report(false); !reported) return reported;
    } else if (*event == Event::kSource) {
      if (auto served = watch_->collector().serve(); !served) return served;
    } else if (*event == Event::kTick) {
      if (auto ticked = watch_->collector().tick(monotonic_now()); !ticked)
        return std::unexpected(ticked.error());
    } else {
      return {};
    }
  }
}

Status GrowthTracer::report(bool is_last) {
  const auto snapshot = watch_->snapshot(monotonic_now(), is_last);
  if (!snapshot) return std::unexpected(snapshot.error());
  const report::BuildInfo info{
      .tool_version = TIDEMARK_VERSION, .kernel_release = facts_.release, .mode = {}};
  const auto built = report::build_growth_report(*snapshot, watch_->names_of(*snapshot), info);
  suspects_ = !built.verdicts.empty();
  auto written = write_report(built, options_, position_);
  position_ = Position::kLater;
  return written;
}

Result<int> GrowthTracer::run() {
  if (auto opened = open(); !opened) return std::unexpected(opened.error());
  collect::GrowthCollector& collector = watch_->collector();
  if (auto opened = collector.open_gate(monotonic_now(), wall_now()); !opened)
    return std::unexpected(opened.error());
  fmt::print(stderr, "tidemark: tracing\n");
  if (auto waited = wait(); !waited) return std::unexpected(waited.error());
  collector.stop();
  if (auto reported = report(true); !reported) return std::unexpected(reported.error());
  return suspects_ && options_.fail_on_suspect ? kExitSuspects : kExitDone;
}

}  // namespace

Result<int> run_growth(const TraceOptions& options, const kernel::Facts& facts) {
  return GrowthTracer(options, facts).run();
}

}  // namespace tidemark::cli
