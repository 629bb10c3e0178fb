// SPDX-License-Identifier: Apache-2.0
//
// HostRoot: where /proc and /sys are read. The machine's own by default; a directory with saved
// files for tests. Reads whole files and says in one line what could not be read and what to do
// about it. Safe to share between threads: it keeps nothing but the prefix.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "support/result.h"

namespace tidemark::system {

class HostRoot {
 public:
  HostRoot() = default;
  explicit HostRoot(std::string prefix) : prefix_(std::move(prefix)) {}

  // The machine itself, where files change and settings can be triggered.
  [[nodiscard]] bool is_live() const { return prefix_.empty(); }
  [[nodiscard]] std::string path(std::string_view absolute) const;
  [[nodiscard]] bool exists(std::string_view absolute) const;
  [[nodiscard]] Result<std::string> read(std::string_view absolute) const;
  // Where the symbolic link leads, as it stands.
  [[nodiscard]] Result<std::string> link_target(std::string_view absolute) const;
  // Names in the directory without . and .., in no order.
  [[nodiscard]] Result<std::vector<std::string>> list(std::string_view absolute) const;
  // Of them, the directories; links to directories are none.
  [[nodiscard]] Result<std::vector<std::string>> directories(std::string_view absolute) const;

 private:
  template <typename Wanted>
  [[nodiscard]] Result<std::vector<std::string>> list_if(std::string_view absolute,
                                                         Wanted wanted) const;

  std::string prefix_;
};

// What every text file of the kernel must be: not empty, and with a newline at its end. `what`
// names it in the error.
[[nodiscard]] Status check_whole(std::string_view text, std::string_view what);

}  // namespace tidemark::system
