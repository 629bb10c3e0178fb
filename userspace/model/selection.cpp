// SPDX-License-Identifier: Apache-2.0
#include "model/selection.h"

#include <algorithm>
#include <unordered_map>

namespace tidemark::model {
namespace {

using Parents = std::unordered_map<Pid, Pid>;

constexpr std::size_t kCommLength = 15;  // TASK_COMM_LEN without the final 0

template <typename T>
bool contains(const std::vector<T>& values, const T& value) {
  return std::ranges::find(values, value) != values.end();
}

// Lists are read while processes come and go, so a chain of parents may hold a circle.
bool descends_from(Pid pid, const std::vector<Pid>& ancestors, const Parents& parents) {
  std::size_t steps = 0;
  for (auto at = parents.find(pid); at != parents.end() && steps <= parents.size(); ++steps) {
    if (contains(ancestors, at->second)) return true;
    at = parents.find(at->second);
  }
  return false;
}

bool lies_in(const std::string& path, const std::string& cgroup) {
  if (cgroup == "/") return true;
  return path.starts_with(cgroup) && (path.size() == cgroup.size() || path[cgroup.size()] == '/');
}

bool in_cgroups(const ProcessEntry& process, const std::vector<std::string>& cgroups) {
  return std::ranges::any_of(cgroups, [&](const std::string& cgroup) {
    return std::ranges::any_of(process.cgroups,
                               [&](const std::string& path) { return lies_in(path, cgroup); });
  });
}

bool has_comm(const ProcessEntry& process, const std::vector<std::string>& comms) {
  return std::ranges::any_of(comms, [&](const std::string& comm) {
    return process.comm == std::string_view(comm).substr(0, kCommLength);
  });
}

}  // namespace

std::string cgroup_path(std::string_view word, std::span<const std::string> mounts) {
  std::string_view longest;
  for (const std::string_view mount : mounts) {
    const bool below =
        word.starts_with(mount) && (word.size() == mount.size() || word[mount.size()] == '/');
    if (below && mount.size() > longest.size()) longest = mount;
  }
  std::string path(word.substr(longest.size()));
  while (path.ends_with('/')) path.pop_back();
  if (!path.starts_with('/')) path.insert(0, "/");
  return path;
}

std::vector<Pid> select(const Selection& selection, std::span<const ProcessEntry> processes,
                        Pid self) {
  Parents parents;
  for (const ProcessEntry& process : processes) parents.emplace(process.pid, process.parent);
  std::vector<Pid> selected;
  for (const ProcessEntry& process : processes) {
    if (process.kernel_thread || process.pid == self) continue;
    const bool is_any = selection.all && process.parent != self;  // no helper of ours
    if (is_any || contains(selection.pids, process.pid) || has_comm(process, selection.comms) ||
        in_cgroups(process, selection.cgroups) ||
        descends_from(process.pid, selection.children_of, parents)) {
      selected.push_back(process.pid);
    }
  }
  std::ranges::sort(selected);
  return selected;
}

}  // namespace tidemark::model
