// SPDX-License-Identifier: Apache-2.0
#include "system/cgroup_paths.h"

#include <sys/stat.h>

#include <filesystem>
#include <system_error>

#include "system/cgroup_memory.h"

namespace tidemark::system {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMost = 100'000;

void add(const fs::path& directory, std::string path, std::map<uint64_t, std::string>& paths) {
  struct stat entry {};
  if (::stat(directory.c_str(), &entry) == 0) paths.emplace(entry.st_ino, std::move(path));
}

void add_tree(const std::string& mount, std::map<uint64_t, std::string>& paths) {
  add(mount, "/", paths);
  std::error_code error;
  fs::recursive_directory_iterator each(mount, fs::directory_options::skip_permission_denied,
                                        error);
  for (; !error && each != fs::recursive_directory_iterator(); each.increment(error)) {
    if (paths.size() >= kMost) return;
    std::error_code gone;
    if (each->is_directory(gone))
      add(each->path(), each->path().string().substr(mount.size()), paths);
  }
}

}  // namespace

std::map<uint64_t, std::string> read_cgroup_paths(const HostRoot& root) {
  std::map<uint64_t, std::string> paths;
  const auto mountinfo = root.read("/proc/self/mountinfo");
  if (!mountinfo) return paths;
  for (const CgroupMount& mount : find_cgroup_mounts(*mountinfo))
    add_tree(root.path(mount.path), paths);
  return paths;
}

}  // namespace tidemark::system
