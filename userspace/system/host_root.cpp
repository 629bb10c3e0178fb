// SPDX-License-Identifier: Apache-2.0
#include "system/host_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <memory>

#include "support/unique_fd.h"

namespace tidemark::system {
namespace {

std::unexpected<Error> cannot(std::string_view verb, const std::string& path, int error) {
  if (error == EACCES || error == EPERM) {
    return fail("may not {} {}: run as root to see it", verb, path);
  }
  if (error == ENOENT) return fail("{} is not there on this machine", path);
  return fail_errno(error, "cannot {} {}", verb, path);
}

}  // namespace

std::string HostRoot::path(std::string_view absolute) const {
  return prefix_ + std::string(absolute);
}

bool HostRoot::exists(std::string_view absolute) const {
  return ::access(path(absolute).c_str(), F_OK) == 0;
}

Result<std::string> HostRoot::read(std::string_view absolute) const {
  const std::string name = path(absolute);
  const UniqueFd fd(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return cannot("open", name, errno);
  std::string content;
  std::array<char, 32768> buffer;
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return cannot("read", name, errno);
    if (got == 0) return content;
    content.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

Result<std::string> HostRoot::link_target(std::string_view absolute) const {
  const std::string name = path(absolute);
  std::array<char, PATH_MAX> target;
  const ssize_t length = ::readlink(name.c_str(), target.data(), target.size());
  if (length < 0) return cannot("follow", name, errno);
  return std::string(target.data(), static_cast<std::size_t>(length));
}

template <typename Wanted>
Result<std::vector<std::string>> HostRoot::list_if(std::string_view absolute, Wanted wanted) const {
  const std::string name = path(absolute);
  struct Close {
    void operator()(DIR* directory) const { ::closedir(directory); }
  };
  const std::unique_ptr<DIR, Close> directory(::opendir(name.c_str()));
  if (!directory) return cannot("open", name, errno);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view found = entry->d_name;
    if (found != "." && found != ".." && wanted(*entry, ::dirfd(directory.get()))) {
      names.emplace_back(found);
    }
    errno = 0;
  }
  if (errno != 0) return cannot("list", name, errno);
  return names;
}

Result<std::vector<std::string>> HostRoot::list(std::string_view absolute) const {
  return list_if(absolute, [](const dirent&, int) { return true; });
}

// Most file systems say the type with the name; where one does not, it is looked up.
Result<std::vector<std::string>> HostRoot::directories(std::string_view absolute) const {
  return list_if(absolute, [](const dirent& entry, int directory) {
    if (entry.d_type != DT_UNKNOWN) return entry.d_type == DT_DIR;
    struct stat info {};
    return ::fstatat(directory, entry.d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISDIR(info.st_mode);
  });
}

Status check_whole(std::string_view text, std::string_view what) {
  if (text.empty()) return fail("{} is empty", what);
  if (text.back() != '\n') return fail("{} is cut off in the middle of a line", what);
  return {};
}

}  // namespace tidemark::system
