// SPDX-License-Identifier: Apache-2.0
#include "system/process_list.h"

#include <algorithm>
#include <filesystem>

#include "support/file.h"
#include "support/strings.h"
#include "system/process.h"

namespace tidemark::system {
namespace {

constexpr uint64_t kKernelThread = 0x00200000;  // PF_KTHREAD of include/linux/sched.h

}  // namespace

std::optional<model::ProcessEntry> parse_stat(std::string_view text) {
  const auto behind = stat_behind_name(text);
  const auto open = text.find('(');
  if (!behind || open >= text.size() - behind->size()) return std::nullopt;
  const auto pid = parse_number<int32_t>(trim(text.substr(0, open)));
  std::string_view rest = *behind;
  skip_words(rest, 1);  // state
  const auto parent = parse_number<int32_t>(next_word(rest));
  skip_words(rest, 4);  // pgrp, session, tty_nr, tpgid
  const auto flags = parse_number<uint64_t>(next_word(rest));
  if (!pid || !parent || !flags) return std::nullopt;
  model::ProcessEntry entry;
  entry.pid = model::Pid{*pid};
  entry.parent = model::Pid{*parent};
  entry.comm = text.substr(open + 1, text.size() - behind->size() - open - 2);
  entry.kernel_thread = (*flags & kKernelThread) != 0;
  return entry;
}

// "4:memory:/web" and "0::/web": the path is behind the second colon, and may hold more of them.
std::vector<std::string> parse_cgroups(std::string_view text) {
  std::vector<std::string> paths;
  for_each_line(text, [&](std::string_view line) {
    const auto first = line.find(':');
    const auto second =
        first == std::string_view::npos ? std::string_view::npos : line.find(':', first + 1);
    if (second == std::string_view::npos) return;
    std::string path(line.substr(second + 1));
    if (std::ranges::find(paths, path) == paths.end()) paths.push_back(std::move(path));
  });
  return paths;
}

// "36 35 98:0 /root /mount/point options ... - type source options"
std::vector<std::string> parse_cgroup_mounts(std::string_view text) {
  std::vector<std::string> mounts;
  for_each_line(text, [&](std::string_view line) {
    const auto separator = line.find(" - ");
    if (separator == std::string_view::npos) return;
    std::string_view type = line.substr(separator + 3);
    if (!next_word(type).starts_with("cgroup")) return;
    skip_words(line, 4);
    mounts.emplace_back(next_word(line));
  });
  return mounts;
}

std::optional<model::ProcessEntry> read_entry(model::Pid pid) {
  const auto stat = read_file(fmt::format("/proc/{}/stat", pid.value));
  if (!stat) return std::nullopt;
  auto entry = parse_stat(*stat);
  if (!entry) return std::nullopt;
  if (const auto cgroups = read_file(fmt::format("/proc/{}/cgroup", pid.value))) {
    entry->cgroups = parse_cgroups(*cgroups);
  }
  return entry;
}

std::vector<model::Pid> list_pids() {
  std::vector<model::Pid> pids;
  std::error_code error;
  for (std::filesystem::directory_iterator at("/proc", error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (const auto pid = parse_number<int32_t>(name)) pids.push_back(model::Pid{*pid});
  }
  std::ranges::sort(pids);
  return pids;
}

std::string read_comm(model::Pid pid) {
  const auto text = read_file(fmt::format("/proc/{}/comm", pid.value));
  return text ? std::string(trim(text->substr(0, text->find('\n')))) : std::string();
}

std::vector<model::ProcessEntry> list_processes() {
  std::vector<model::ProcessEntry> entries;
  for (const model::Pid pid : list_pids()) {
    if (auto entry = read_entry(pid)) entries.push_back(*std::move(entry));
  }
  return entries;
}

std::vector<std::string> cgroup_mounts() {
  const auto text = read_file("/proc/self/mountinfo");
  return text ? parse_cgroup_mounts(*text) : std::vector<std::string>{};
}

bool is_directory(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

}  // namespace tidemark::system
