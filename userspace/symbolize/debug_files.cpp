// SPDX-License-Identifier: Apache-2.0
#include "symbolize/debug_files.h"

#include <string_view>
#include <utility>

namespace tidemark::symbolize {
namespace {

constexpr std::string_view kDebugRoot = "/usr/lib/debug";

bool belongs_to(const elf::Image& image, const std::optional<elf::DebugLink>& link,
                const UniqueFd& file) {
  if (!image.build_id()) {
    const auto crc = elf::crc_of(file);
    return link && crc && *crc == link->crc;
  }
  UniqueFd again(::dup(file.get()));
  if (!again.valid()) return false;
  const auto opened = elf::Image::open(std::move(again), "debug file");
  return opened && opened->build_id() == image.build_id();
}

}  // namespace

std::string path_by_build_id(const std::string& build_id) {
  return fmt::format("{}/.build-id/{}/{}.debug", kDebugRoot, build_id.substr(0, 2),
                     build_id.substr(2));
}

std::vector<std::string> debug_paths(const std::optional<std::string>& build_id,
                                     const std::optional<elf::DebugLink>& link,
                                     const std::string& path) {
  std::vector<std::string> paths;
  if (build_id && build_id->size() > 2) paths.push_back(path_by_build_id(*build_id));
  const auto slash = path.rfind('/');
  if (!link || !path.starts_with('/')) return paths;
  const std::string directory = path.substr(0, slash);
  if (directory + "/" + link->name != path) paths.push_back(directory + "/" + link->name);
  paths.push_back(directory + "/.debug/" + link->name);
  paths.push_back(fmt::format("{}{}/{}", kDebugRoot, directory, link->name));
  return paths;
}

std::optional<DebugFile> find_debug_file(const elf::Image& image, const std::string& path,
                                         std::span<const TargetRoot* const> roots) {
  const auto sections = elf::read_debug_sections(image.file());
  const auto link = sections ? sections->link : std::nullopt;
  const auto paths = debug_paths(image.build_id(), link, path);
  for (const TargetRoot* root : roots) {
    for (const std::string& candidate : paths) {
      auto file = root->open(candidate);
      if (!file || !belongs_to(image, link, *file)) continue;
      return DebugFile{*std::move(file), candidate};
    }
  }
  return std::nullopt;
}

std::optional<DebugFile> ask_for_debug_file(const elf::Image& image, elf::Debuginfod& servers) {
  if (!image.build_id()) return std::nullopt;
  auto file = servers.find(*image.build_id());
  if (!file || !belongs_to(image, std::nullopt, *file)) return std::nullopt;
  return DebugFile{*std::move(file), ""};
}

}  // namespace tidemark::symbolize
