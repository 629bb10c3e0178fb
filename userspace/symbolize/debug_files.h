// SPDX-License-Identifier: Apache-2.0
//
// Where the separate debug file of a program or library is: in the places where gdb looks, below
// each of the given roots in turn. Private to symbolize/.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "elf/debug_sections.h"
#include "elf/debuginfod.h"
#include "elf/image.h"
#include "support/target_root.h"

namespace tidemark::symbolize {

struct DebugFile {
  UniqueFd file;
  std::string path;  // below its root; empty: from a server
};

// Where distributions install the debug file of a build; the id has at least three digits.
[[nodiscard]] std::string path_by_build_id(const std::string& build_id);

// Of an image at `path` (as the target sees it), most likely first: by build id, by link beside the
// image, in .debug beside it, and below /usr/lib/debug.
[[nodiscard]] std::vector<std::string> debug_paths(const std::optional<std::string>& build_id,
                                                   const std::optional<elf::DebugLink>& link,
                                                   const std::string& path);

// The first one that is the image's: of the same build id, or, of an image without one, of the
// content that the link says. Others are passed over.
[[nodiscard]] std::optional<DebugFile> find_debug_file(const elf::Image& image,
                                                       const std::string& path,
                                                       std::span<const TargetRoot* const> roots);

// The same from debuginfod servers.
[[nodiscard]] std::optional<DebugFile> ask_for_debug_file(const elf::Image& image,
                                                          elf::Debuginfod& servers);

}  // namespace tidemark::symbolize
