// SPDX-License-Identifier: Apache-2.0
#include "support/target_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <string>

namespace tidemark {
namespace {

struct FoundFile {
  UniqueFd handle;  // O_PATH: nothing has been opened for reading yet
  uint64_t inode = 0;
  bool same_device = false;
};

Result<FoundFile> find_regular_file(const std::string& path, const MappedFile& wanted) {
  UniqueFd handle(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!handle.valid()) return fail_errno(errno, "{}", path);
  struct stat info {};
  if (::fstat(handle.get(), &info) != 0) return fail_errno(errno, "{}", path);
  if (!S_ISREG(info.st_mode)) return fail("{}: not a regular file", path);
  const bool same_device = gnu_dev_major(info.st_dev) == wanted.device_major &&
                           gnu_dev_minor(info.st_dev) == wanted.device_minor;
  return FoundFile{std::move(handle), info.st_ino, same_device};
}

Result<UniqueFd> open_for_reading(const FoundFile& found, const std::string& path) {
  const std::string self = fmt::format("/proc/self/fd/{}", found.handle.get());
  UniqueFd file(::open(self.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return fail_errno(errno, "{}", path);
  return file;
}

}  // namespace

Result<UniqueFd> open_mapped_file(const MappedFile& file) {
  const std::string by_name = fmt::format("/proc/{}/root{}", file.pid, file.path);
  const Result<FoundFile> named = file.path.starts_with('/') ? find_regular_file(by_name, file)
                                                             : fail("{}: not a path", file.path);
  const bool same_inode = named && named->inode == file.inode;
  if (same_inode && named->same_device) return open_for_reading(*named, by_name);

  const std::string by_range =
      fmt::format("/proc/{}/map_files/{:x}-{:x}", file.pid, file.start, file.end);
  const Result<FoundFile> mapped = find_regular_file(by_range, file);
  if (mapped) return open_for_reading(*mapped, by_range);

  if (same_inode && !file.deleted) return open_for_reading(*named, by_name);
  // The process has gone. In our own root the same name may be the same file.
  if (file.path.starts_with('/')) {
    const std::string here(file.path);
    const Result<FoundFile> ours = find_regular_file(here, file);
    if (ours && ours->inode == file.inode && ours->same_device) {
      return open_for_reading(*ours, here);
    }
  }
  if (named) return fail("{} is another file by now; {}", by_name, mapped.error().text);
  return fail("{}; {}", named.error().text, mapped.error().text);
}

}  // namespace tidemark
