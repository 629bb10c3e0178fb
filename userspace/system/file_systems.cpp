// SPDX-License-Identifier: Apache-2.0
#include "system/file_systems.h"

#include <fmt/format.h>
#include <linux/magic.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace tidemark::system {
namespace {

struct FileSystem {
  uint64_t magic;
  std::string_view name;
};

// ext2, ext3 and ext4 share theirs; the newest is what is in use.
constexpr std::array kFileSystems = {
    FileSystem{TMPFS_MAGIC, "tmpfs"},
    FileSystem{RAMFS_MAGIC, "ramfs"},
    FileSystem{HUGETLBFS_MAGIC, "hugetlbfs"},
    FileSystem{EXT4_SUPER_MAGIC, "ext4"},
    FileSystem{XFS_SUPER_MAGIC, "xfs"},
    FileSystem{BTRFS_SUPER_MAGIC, "btrfs"},
    FileSystem{OVERLAYFS_SUPER_MAGIC, "overlay"},
    FileSystem{F2FS_SUPER_MAGIC, "f2fs"},
    FileSystem{NFS_SUPER_MAGIC, "nfs"},
    FileSystem{FUSE_SUPER_MAGIC, "fuse"},
    FileSystem{0x2fc12fc1, "zfs"},
};

}  // namespace

std::string file_system_name(uint64_t magic) {
  const auto found = std::ranges::find(kFileSystems, magic, &FileSystem::magic);
  return found != kFileSystems.end() ? std::string(found->name) : fmt::format("0x{:x}", magic);
}

}  // namespace tidemark::system
