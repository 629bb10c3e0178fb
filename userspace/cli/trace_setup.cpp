// SPDX-License-Identifier: Apache-2.0
#include "cli/trace_setup.h"

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "system/process.h"
#include "system/process_list.h"

namespace tidemark::cli {
namespace {

constexpr uint32_t kMostInGroup = 16384;  // processes, each exec being one more
constexpr uint32_t kRulesOfAll = 1u << 18;

// What the sources have to tell, so that processes that come to be find their way into the group.
sources::Watch watch_for(const model::Selection& selection) {
  sources::Watch watch;
  watch.children = selection.is_group();
  watch.execs = selection.all || !selection.comms.empty() || !selection.cgroups.empty();
  watch.parents = selection.children_of;
  return watch;
}

}  // namespace

Status check_selection(model::Selection& selection) {
  for (const model::Pid pid : selection.pids) {
    if (const auto image = system::read_process(pid); !image) return std::unexpected(image.error());
  }
  for (const model::Pid parent : selection.children_of) {
    if (!system::read_entry(parent)) {
      return fail("there is no process {}, so it has no children: look its number up with pgrep",
                  parent.value);
    }
  }
  const auto mounts = system::cgroup_mounts();
  for (std::string& cgroup : selection.cgroups) {
    const std::string path = model::cgroup_path(cgroup, mounts);
    const bool exists = std::ranges::any_of(
        mounts, [&](const std::string& mount) { return system::is_directory(mount + path); });
    if (!exists) {
      return fail("there is no cgroup {}: give its path as in /proc/PID/cgroup or below {}", cgroup,
                  mounts.empty() ? "/sys/fs/cgroup" : mounts.front());
    }
    cgroup = path;
  }
  return {};
}

sources::Settings settings_for(const kernel::Facts& facts, const TraceOptions& options,
                               const model::Selection& selection) {
  sources::Settings settings;
  settings.limits.max_blocks = options.max_blocks;
  settings.limits.max_stacks = options.max_stacks;
  settings.selects_later = options.mode == TraceMode::kAuto;
  if (selection.is_group() || settings.selects_later) settings.limits.max_targets = kMostInGroup;
  if (selection.all) settings.limits.max_rules = kRulesOfAll;
  if (options.probe_at_entry) settings.sites = sources::SiteChoice::kEntry;
  // Probes in everybody's memory cannot be kept out of processes that they would harm.
  if (selection.all && facts.seccomp_returns.present) settings.reach = sources::Reach::kMachine;
  if (options.no_sessions) settings.sessions = sources::SessionChoice::kNever;
  settings.sampling_interval_bytes = options.sampling_interval_bytes;
  settings.throttled = options.budget_percent.has_value();
  settings.watch = watch_for(selection);
  return settings;
}

}  // namespace tidemark::cli
