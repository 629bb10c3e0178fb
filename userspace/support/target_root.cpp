// SPDX-License-Identifier: Apache-2.0
#include "support/target_root.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>

namespace tidemark {

Result<TargetRoot> TargetRoot::of_process(int32_t pid) {
  return at(fmt::format("/proc/{}/root", pid));
}

Result<TargetRoot> TargetRoot::at(const std::string& directory) {
  UniqueFd opened(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!opened.valid()) return fail_errno(errno, "{}", directory);
  return TargetRoot(std::move(opened));
}

Result<UniqueFd> TargetRoot::open(const std::string& path, LastLink link) const {
  struct open_how how {};
  how.flags = O_PATH | O_CLOEXEC;
  if (link == LastLink::kRefuse) how.flags |= O_NOFOLLOW;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const UniqueFd found(
      static_cast<int>(::syscall(SYS_openat2, directory_.get(), path.c_str(), &how, sizeof how)));
  if (!found.valid()) return fail_errno(errno, "{}", path);
  struct stat status {};
  if (::fstat(found.get(), &status) != 0) return fail_errno(errno, "{}", path);
  if (!S_ISREG(status.st_mode)) return fail("{}: not a regular file", path);
  UniqueFd file(::open(fmt::format("/proc/self/fd/{}", found.get()).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return fail_errno(errno, "{}", path);
  return file;
}

std::optional<TargetRoot::Identity> TargetRoot::identity_of(int32_t pid) {
  struct stat root {};
  if (::stat(fmt::format("/proc/{}/root", pid).c_str(), &root) != 0) return std::nullopt;
  std::array<char, PATH_MAX> name{};
  const std::string link = fmt::format("/proc/{}/ns/mnt", pid);
  const ssize_t length = ::readlink(link.c_str(), name.data(), name.size());
  if (length < 0) return std::nullopt;
  return Identity{std::string(name.data(), static_cast<std::size_t>(length)), root.st_dev,
                  root.st_ino};
}

}  // namespace tidemark
