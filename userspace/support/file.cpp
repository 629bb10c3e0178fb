// SPDX-License-Identifier: Apache-2.0
#include "support/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "support/unique_fd.h"

namespace tidemark {
namespace {

std::string directory_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

bool is_replaceable(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode);
}

// A symbolic link stays one: its target is what is replaced, or made where it leads nowhere yet.
std::string resolved(const std::string& path) {
  std::error_code error;
  auto target = std::filesystem::canonical(path, error);
  if (error) target = std::filesystem::path(path);
  if (error && std::filesystem::is_symlink(path, error)) {
    target = target.parent_path() / std::filesystem::read_symlink(path, error);
  }
  return target.string();
}

// What was there keeps its permissions; a new file gets those that the umask would have given it.
mode_t mode_for(const std::string& path) {
  struct stat old {};
  if (::stat(path.c_str(), &old) == 0) return old.st_mode & 07777;
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return 0666 & ~mask;
}

Status copy_content(const std::string& from, int to, const std::string& path) {
  const auto content = read_file(from);
  if (!content) return std::unexpected(content.error());
  return write_all(to, *content, path);
}

Status write_as_it_stands(const std::string& path, std::string_view content) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return fail_errno(errno, "cannot write {}", path);
  return write_all(fd.get(), content, path);
}

enum class OldContent { kDropped, kKept };

Status replace(const std::string& path, OldContent old, std::string_view content) {
  if (!is_replaceable(path)) return write_as_it_stands(path, content);
  const std::string final_path = resolved(path);
  std::string temporary = final_path + ".XXXXXX";
  const UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.valid()) return fail_errno(errno, "cannot create a file beside {}", path);
  Status status;
  if (old == OldContent::kKept) status = copy_content(final_path, fd.get(), path);
  if (status) status = write_all(fd.get(), content, path);
  if (status && (::fchmod(fd.get(), mode_for(final_path)) != 0 || ::fsync(fd.get()) != 0)) {
    status = fail_errno(errno, "cannot write {}", path);
  }
  if (status && ::rename(temporary.c_str(), final_path.c_str()) != 0) {
    status = fail_errno(errno, "cannot rename {} to {}", temporary, path);
  }
  if (!status) ::unlink(temporary.c_str());
  return status;
}

}  // namespace

Status write_all(int fd, std::string_view content, const std::string& name) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno(errno, "cannot write {}", name);
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<std::string> read_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return fail_errno(errno, "cannot open {}", path);
  std::string content;
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "cannot read {}", path);
    if (got == 0) return content;
    content.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

Status ReplacedFile::check_writable(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return fail("cannot write {}: it is a directory; name a file in it", path);
  }
  const std::string where = is_replaceable(path) ? directory_of(resolved(path)) : path;
  if (::access(where.c_str(), W_OK) != 0) {
    return fail_errno(errno, "cannot write {}: choose another place, {} is not writable", path,
                      where);
  }
  return {};
}

Status ReplacedFile::write(const std::string& path, std::string_view content) {
  return replace(path, OldContent::kDropped, content);
}

Status ReplacedFile::append(const std::string& path, std::string_view content) {
  return replace(path, OldContent::kKept, content);
}

}  // namespace tidemark
