// SPDX-License-Identifier: Apache-2.0
#include "system/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <thread>

#include "support/unique_fd.h"
#include "system/process_list.h"

namespace tidemark::system {
namespace {

constexpr const char* kNamedNetworks = "/run/netns";

const char* file_of(NamespaceKind kind) {
  switch (kind) {
    case NamespaceKind::kNetwork:
      return "net";
    case NamespaceKind::kMount:
      return "mnt";
    case NamespaceKind::kIpc:
      return "ipc";
  }
  return "";
}

class NamespaceList {
 public:
  void add(const std::string& path, model::Pid seen_by) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0 || !seen_.insert(info.st_ino).second) return;
    list_.push_back({model::Inode{info.st_ino}, path, seen_by, list_.empty()});
  }
  [[nodiscard]] std::vector<Namespace> take() { return std::move(list_); }

 private:
  std::set<ino_t> seen_;
  std::vector<Namespace> list_;
};

}  // namespace

std::vector<Namespace> list_namespaces(NamespaceKind kind) {
  NamespaceList list;
  list.add(fmt::format("/proc/self/ns/{}", file_of(kind)), model::Pid{::getpid()});
  for (const model::Pid pid : list_pids()) {
    list.add(fmt::format("/proc/{}/ns/{}", pid.value, file_of(kind)), pid);
  }
  std::error_code error;
  if (kind == NamespaceKind::kNetwork && std::filesystem::is_directory(kNamedNetworks, error)) {
    for (const auto& entry : std::filesystem::directory_iterator(kNamedNetworks, error)) {
      list.add(entry.path().string(), model::Pid{});
    }
  }
  return list.take();
}

uint64_t count_hidden_processes() {
  uint64_t hidden = 0;
  for (const model::Pid pid : list_pids()) {
    struct stat info {};
    const std::string path = fmt::format("/proc/{}/ns/mnt", pid.value);
    if (::stat(path.c_str(), &info) != 0 && errno == EACCES) ++hidden;
  }
  return hidden;
}

Status run_inside(const Namespace& where, const std::function<void()>& work) {
  if (where.is_own) {
    work();
    return {};
  }
  const UniqueFd fd(::open(where.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return fail_errno(errno, "cannot open the namespace {}", where.path);
  int error = 0;
  std::thread visitor([&] {
    if (::setns(fd.get(), 0) != 0) {
      error = errno;
      return;
    }
    work();
  });
  visitor.join();
  if (error != 0) {
    return fail_errno(error, "cannot enter the namespace {}, run as root", where.path);
  }
  return {};
}

}  // namespace tidemark::system
