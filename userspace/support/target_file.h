// SPDX-License-Identifier: Apache-2.0
//
// Opens the very file that another process has mapped, whatever its name leads to by now:
// containers have their own root, updates unlink what is running.
#pragma once

#include <cstdint>
#include <string_view>

#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark {

struct MappedFile {
  int32_t pid = 0;
  std::string_view path;  // as the target sees it
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  uint64_t inode = 0;
  uint64_t start = 0;  // of the mapping in the target's memory
  uint64_t end = 0;    // first address behind it
  bool deleted = false;
};

// Tries /proc/PID/root/PATH, if device and inode are those of the mapping; then
// /proc/PID/map_files, which needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN but is always right;
// then the path once more if only the device differs (btrfs and overlayfs tell two); then, for a
// process that has gone, the path in our own root, if device and inode are the same. Opens regular
// files only, for reading; devices and FIFOs are not touched.
[[nodiscard]] Result<UniqueFd> open_mapped_file(const MappedFile& file);

}  // namespace tidemark
