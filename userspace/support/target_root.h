// SPDX-License-Identifier: Apache-2.0
//
// TargetRoot: the root directory of a process, held open. What is opened through it is found as
// that process would find it: in its mount namespace and below its root, symbolic links included,
// also when the process has gone. (/proc/PID/root/PATH would follow an absolute link into our own
// root.) It holds one descriptor, and so that file system's mount. Thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark {

enum class LastLink { kFollow, kRefuse };

class TargetRoot {
 public:
  [[nodiscard]] static Result<TargetRoot> of_process(int32_t pid);
  // What is below this directory, which is an absolute path of ours: "/" is our own root.
  [[nodiscard]] static Result<TargetRoot> at(const std::string& directory);

  // A regular file, for reading; devices and FIFOs are not touched. `path` is absolute. kRefuse
  // refuses a file that is a symbolic link itself.
  [[nodiscard]] Result<UniqueFd> open(const std::string& path,
                                      LastLink link = LastLink::kFollow) const;

  // The same for two processes that see the same files: mount namespace and root directory.
  struct Identity {
    std::string mount_namespace;
    uint64_t device = 0;
    uint64_t inode = 0;
    friend auto operator<=>(const Identity&, const Identity&) = default;
  };
  [[nodiscard]] static std::optional<Identity> identity_of(int32_t pid);

 private:
  explicit TargetRoot(UniqueFd directory) : directory_(std::move(directory)) {}

  UniqueFd directory_;
};

}  // namespace tidemark
