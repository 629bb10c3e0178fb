// SPDX-License-Identifier: Apache-2.0
#include "system/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

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
  explicit NamespaceList(NamespaceKind kind) : kind_(kind) {
    add(fmt::format("/proc/self/ns/{}", file_of(kind)), model::Pid{::getpid()});
  }

  // The error number of the look-up, or 0.
  int add_process(model::Pid pid) {
    return add(fmt::format("/proc/{}/ns/{}", pid.value, file_of(kind_)), pid);
  }

  // And those that have a name.
  [[nodiscard]] std::vector<Namespace> take() {
    std::error_code error;
    if (kind_ == NamespaceKind::kNetwork && std::filesystem::is_directory(kNamedNetworks, error)) {
      for (const auto& entry : std::filesystem::directory_iterator(kNamedNetworks, error)) {
        add(entry.path().string(), model::Pid{});
      }
    }
    return std::move(list_);
  }

 private:
  int add(const std::string& path, model::Pid seen_by) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return errno;
    if (seen_.insert(info.st_ino).second) {
      list_.push_back({model::Inode{info.st_ino}, path, seen_by, list_.empty()});
    }
    return 0;
  }

  NamespaceKind kind_;
  std::set<ino_t> seen_;
  std::vector<Namespace> list_;
};

// The kernel says EACCES of a process that has just ended, too.
bool is_there(model::Pid pid) {
  return ::access(fmt::format("/proc/{}/ns", pid.value).c_str(), F_OK) == 0;
}

}  // namespace

std::vector<Namespace> list_namespaces(NamespaceKind kind) {
  NamespaceList list(kind);
  for (const model::Pid pid : list_pids()) list.add_process(pid);
  return list.take();
}

Namespaces list_all_namespaces() {
  NamespaceList network(NamespaceKind::kNetwork), mount(NamespaceKind::kMount),
      ipc(NamespaceKind::kIpc);
  Namespaces all;
  for (const model::Pid pid : list_pids()) {
    const int refused = mount.add_process(pid);
    if (refused == EACCES && is_there(pid)) ++all.hidden_processes;
    if (refused != 0) continue;  // it is gone, or all three are hidden
    network.add_process(pid);
    ipc.add_process(pid);
  }
  all.network = network.take();
  all.mount = mount.take();
  all.ipc = ipc.take();
  return all;
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
