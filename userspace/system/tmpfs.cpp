// SPDX-License-Identifier: Apache-2.0
#include "system/tmpfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <set>

#include "support/file.h"
#include "support/strings.h"
#include "system/namespaces.h"

namespace tidemark::system {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};

// A blank in a path is "\040".
std::string without_escapes(std::string_view text) {
  constexpr std::size_t kDigits = 3;
  std::string plain;
  while (!text.empty()) {
    const auto code = text.front() == '\\' && text.size() > kDigits
                          ? parse_number<uint8_t>(text.substr(1, kDigits), 8)
                          : std::nullopt;
    plain += code ? static_cast<char>(*code) : text.front();
    text.remove_prefix(code ? 1 + kDigits : 1);
  }
  return plain;
}

std::optional<uint64_t> parse_device(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto first = parse_number<unsigned>(text.substr(0, colon));
  const auto second = parse_number<unsigned>(text.substr(colon + 1));
  if (!first || !second) return std::nullopt;
  return makedev(*first, *second);
}

std::optional<Mount> parse_mount(std::string_view line) {
  skip_words(line, 2);  // its id, its parent's
  const auto device = parse_device(next_word(line));
  Mount mount;
  mount.root = without_escapes(next_word(line));
  mount.point = without_escapes(next_word(line));
  std::string_view word = next_word(line);
  while (!word.empty() && word != "-") word = next_word(line);  // options, until the dash
  mount.fs_type = next_word(line);
  if (!device || mount.point.empty() || mount.fs_type.empty()) return std::nullopt;
  mount.device = *device;
  return mount;
}

// The widest files seen so far.
class Largest {
 public:
  explicit Largest(std::size_t room) : room_(room) {}
  void add(const std::string& path, uint64_t bytes) {
    if (bytes == 0) return;
    files_.emplace(bytes, path);
    if (files_.size() > room_) files_.erase(files_.begin());
  }
  [[nodiscard]] std::vector<model::FileSize> take() const {
    std::vector<model::FileSize> list;
    for (auto at = files_.rbegin(); at != files_.rend(); ++at)
      list.push_back({at->second, at->first});
    return list;
  }

 private:
  std::size_t room_;
  std::multimap<uint64_t, std::string> files_;
};

using Directory = std::unique_ptr<DIR, CloseDirectory>;

Directory open_directory(const std::string& path, int more_flags) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | more_flags);
  if (fd < 0) return nullptr;
  Directory directory(::fdopendir(fd));
  if (!directory) ::close(fd);
  return directory;
}

class Walk {
 public:
  Walk(uint64_t device, const WalkLimits& limits)
      : device_(device), limits_(limits), largest_(limits.largest) {}

  Walked run(const std::string& top) {
    waiting_ = {""};
    while (!waiting_.empty() && walked_.complete) {
      const std::string below = std::move(waiting_.back());
      waiting_.pop_back();
      // The mount point itself may be reached by a link, what is below not.
      const auto directory = open_directory(top + below, below.empty() ? 0 : O_NOFOLLOW);
      if (directory) {
        list(directory.get(), below);
      } else {
        walked_.complete = errno == ENOENT;  // gone meanwhile
      }
    }
    walked_.largest = largest_.take();
    return std::move(walked_);
  }

 private:
  void list(DIR* directory, const std::string& below) {
    while (const dirent* entry = ::readdir(directory)) {
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      walked_.complete = ++seen_ <= limits_.entries;
      if (!walked_.complete) return;
      struct stat info {};
      constexpr int kAsItStands = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
      const int result = ::fstatat(::dirfd(directory), entry->d_name, &info, kAsItStands);
      if (result == 0 && info.st_dev == device_) add(fmt::format("{}/{}", below, name), info);
    }
  }

  void add(const std::string& path, const struct stat& info) {
    const uint64_t bytes = static_cast<uint64_t>(info.st_blocks) * 512;
    walked_.bytes += bytes;
    if (S_ISDIR(info.st_mode)) waiting_.push_back(path);
    if (S_ISREG(info.st_mode)) largest_.add(path, bytes);
  }

  uint64_t device_;
  WalkLimits limits_;
  Largest largest_;
  Walked walked_;
  std::vector<std::string> waiting_;  // below the top, with a slash in front
  std::size_t seen_ = 0;
};

bool keeps_files_in_memory(std::string_view fs_type) {
  return fs_type == "tmpfs" || fs_type == "devtmpfs" || fs_type == "ramfs" || fs_type == "rootfs";
}

// The file system's own figure; none where it keeps none (ramfs, a tmpfs without a limit).
std::optional<uint64_t> used_bytes(const std::string& path) {
  struct statvfs usage {};
  if (::statvfs(path.c_str(), &usage) != 0 || usage.f_blocks == 0) return std::nullopt;
  return (usage.f_blocks - usage.f_bfree) * usage.f_frsize;
}

// One mount as a process of its namespace sees it; none if something else is mounted over it.
std::optional<model::TmpfsMount> read_mount(const Mount& mount, const Namespace& where,
                                            const WalkLimits& limits) {
  const std::string path = fmt::format("/proc/{}/root{}", where.seen_by.value, mount.point);
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || info.st_dev != mount.device) return std::nullopt;
  model::TmpfsMount tmpfs;
  tmpfs.path = mount.point;
  tmpfs.fs_type = mount.fs_type;
  tmpfs.device = mount.device;
  tmpfs.mount_namespace = where.inode;
  tmpfs.seen_by = where.seen_by;
  tmpfs.bytes = used_bytes(path);
  if (tmpfs.bytes == uint64_t{0}) return tmpfs;
  Walked walked = walk_files(path, mount.device, limits);
  tmpfs.largest = std::move(walked.largest);
  tmpfs.walk_complete = walked.complete;
  if (!tmpfs.bytes && walked.complete) tmpfs.bytes = walked.bytes;
  return tmpfs;
}

}  // namespace

std::vector<Mount> parse_mountinfo(std::string_view text) {
  std::vector<Mount> mounts;
  for_each_line(text, [&](std::string_view line) {
    if (auto mount = parse_mount(line)) mounts.push_back(std::move(*mount));
  });
  return mounts;
}

Walked walk_files(const std::string& directory, uint64_t device, const WalkLimits& limits) {
  Walk walk(device, limits);
  return walk.run(directory);
}

void read_tmpfs(const std::vector<Namespace>& namespaces, const WalkLimits& limits,
                std::vector<model::TmpfsMount>& mounts, std::vector<model::Coverage>& coverage) {
  std::set<uint64_t> seen;
  model::Coverage line{"mountinfo", model::HookState::kOn, {}};
  for (const Namespace& where : namespaces) {
    const auto text = read_file(fmt::format("/proc/{}/mountinfo", where.seen_by.value));
    if (!text) {
      line.state = model::HookState::kOff;
      line.reason = text.error().text;
      continue;
    }
    auto all = parse_mountinfo(*text);
    // Of several mounts of one file system, one that shows the whole of it.
    std::ranges::stable_partition(all, [](const Mount& mount) { return mount.root == "/"; });
    for (const Mount& mount : all) {
      if (!keeps_files_in_memory(mount.fs_type) || seen.contains(mount.device)) continue;
      auto tmpfs = read_mount(mount, where, limits);
      if (!tmpfs) continue;
      seen.insert(mount.device);
      mounts.push_back(std::move(*tmpfs));
    }
  }
  std::ranges::stable_sort(mounts, std::ranges::greater{}, &model::TmpfsMount::bytes);
  coverage.push_back(std::move(line));
}

}  // namespace tidemark::system
