// SPDX-License-Identifier: Apache-2.0
#include "model/passed_processes.h"

#include <algorithm>
#include <map>

namespace tidemark::model {

std::set<ProcessKey> keys_of(const std::vector<ProcessMemory>& processes) {
  std::set<ProcessKey> keys;
  for (const ProcessMemory& process : processes) {
    if (process.start_ticks) keys.emplace(process.pid.value, *process.start_ticks);
  }
  return keys;
}

std::vector<PassedName> by_name(const std::vector<PassedProcess>& processes) {
  std::map<std::string, PassedName> names;
  for (const PassedProcess& process : processes) {
    PassedName& name = names[process.comm];
    name.comm = process.comm;
    ++name.count;
    if (name.count == 1 || process.peak_rss_bytes > name.peak_rss_bytes) {
      name.peak_rss_bytes = process.peak_rss_bytes;
      name.pid = Pid{process.key.first};
    }
  }
  std::vector<PassedName> list;
  for (auto& [comm, name] : names) list.push_back(std::move(name));
  std::ranges::stable_sort(list, std::greater(), &PassedName::peak_rss_bytes);
  return list;
}

}  // namespace tidemark::model
