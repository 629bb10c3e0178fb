// SPDX-License-Identifier: Apache-2.0
//
// Whole files: read at once (also those of /proc, whose size is unknown), and written beside the
// name and renamed, so that a reader never sees half of one.
#pragma once

#include <string>
#include <string_view>

#include "support/result.h"

namespace tidemark {

[[nodiscard]] Result<std::string> read_file(const std::string& path);

// `name` is for the message only.
[[nodiscard]] Status write_all(int fd, std::string_view content, const std::string& name);

// A file that appears under its name only when it is whole. The directory is tried at once, so that
// an unwritable place is known before a long trace and not after it.
class ReplacedFile {
 public:
  // Checks that `path` can be written: one line says what to do if not. Creates nothing.
  [[nodiscard]] static Status check_writable(const std::string& path);
  // Writes `content` to a temporary file in the same directory, syncs and renames it onto `path`. A
  // device, pipe or socket cannot be replaced and is written to as it stands.
  [[nodiscard]] static Status write(const std::string& path, std::string_view content);
  // The same with what the file holds already in front.
  [[nodiscard]] static Status append(const std::string& path, std::string_view content);
};

}  // namespace tidemark
