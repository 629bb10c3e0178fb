// SPDX-License-Identifier: Apache-2.0
#include "system/slab.h"

#include <algorithm>
#include <optional>

#include "support/strings.h"

namespace tidemark::system {
namespace {

constexpr std::string_view kDirectory = "/sys/kernel/slab";

// The last number in front of `text`'s end is cut off and returned.
std::optional<uint64_t> last_number(std::string_view& text) {
  text = trim(text);
  const auto blank = text.find_last_of(" \t");
  if (blank == std::string_view::npos) return std::nullopt;
  const auto number = parse_number<uint64_t>(text.substr(blank + 1));
  text = text.substr(0, blank);
  return number;
}

// A cache's name may hold blanks, so the numbers are taken from behind.
std::optional<model::SlabCache> parse_line(std::string_view line, uint64_t page_bytes) {
  const auto tunables = line.find(" : tunables ");
  const auto data = line.find(" : slabdata ");
  if (tunables == std::string_view::npos || data == std::string_view::npos) return std::nullopt;
  std::string_view front = line.substr(0, tunables);
  std::string_view slab_numbers = line.substr(data + std::string_view(" : slabdata ").size());
  const auto pages_per_slab = last_number(front);
  const auto objects_per_slab = last_number(front);
  const auto object_bytes = last_number(front);
  const auto objects = last_number(front);
  const auto active = last_number(front);
  skip_words(slab_numbers, 1);
  const auto slabs = parse_number<uint64_t>(next_word(slab_numbers));
  const std::string_view name = trim(front);
  if (!pages_per_slab || !objects_per_slab || !object_bytes || !objects || !active || !slabs ||
      name.empty()) {
    return std::nullopt;
  }
  uint64_t pages = 0;
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(*slabs, *pages_per_slab, &pages) ||
      __builtin_mul_overflow(pages, page_bytes, &bytes)) {
    return std::nullopt;
  }
  return model::SlabCache{.name = std::string(name),
                          .active_objects = *active,
                          .objects = *objects,
                          .object_bytes = *object_bytes,
                          .pages_per_slab = *pages_per_slab,
                          .slabs = *slabs,
                          .bytes = bytes,
                          .reclaimable = std::nullopt,
                          .aliases = {}};
}

}  // namespace

Result<std::vector<model::SlabCache>> parse_slabinfo(std::string_view text, uint64_t page_bytes) {
  if (auto whole = check_whole(text, "/proc/slabinfo"); !whole) {
    return std::unexpected(whole.error());
  }
  if (!text.starts_with("slabinfo - version: 2.")) {
    return fail("/proc/slabinfo has a version that is not known (2.x is)");
  }
  std::vector<model::SlabCache> caches;
  for_each_line(text, [&](std::string_view line) {
    if (line.starts_with('#')) return;
    if (auto cache = parse_line(line, page_bytes)) caches.push_back(std::move(*cache));
  });
  if (caches.empty()) return fail("/proc/slabinfo lists no cache");
  return caches;
}

Result<std::vector<SlabLink>> read_slab_links(const HostRoot& root) {
  const auto names = root.list(kDirectory);
  if (!names) return std::unexpected(names.error());
  std::vector<SlabLink> links;
  links.reserve(names->size());
  for (const std::string& name : *names) {
    const auto target = root.link_target(fmt::format("{}/{}", kDirectory, name));
    links.push_back({name, target ? target->substr(target->find_last_of('/') + 1) : name});
  }
  return links;
}

void add_aliases(std::vector<model::SlabCache>& caches, const std::vector<SlabLink>& links) {
  std::map<std::string_view, std::string_view> directory_of;
  std::map<std::string_view, std::vector<std::string>> names_in;
  for (const SlabLink& link : links) {
    directory_of[link.name] = link.directory;
    if (!link.name.starts_with(':')) names_in[link.directory].push_back(link.name);
  }
  for (model::SlabCache& cache : caches) {
    const auto directory = directory_of.find(cache.name);
    if (directory == directory_of.end()) continue;
    const auto names = names_in.find(directory->second);
    if (names == names_in.end() || names->second.size() < 2) continue;
    cache.aliases = names->second;
    std::ranges::sort(cache.aliases);
  }
}

}  // namespace tidemark::system
