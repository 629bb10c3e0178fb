// SPDX-License-Identifier: Apache-2.0
#include "system/machine.h"

#include "support/strings.h"
#include "system/host_root.h"

namespace tidemark::system {
namespace {

// CPU numbers end at NR_CPUS, which no kernel sets above 8192.
constexpr uint32_t kMostCpus = 1u << 16;

std::optional<uint64_t> scaled(std::optional<uint64_t> number, uint64_t unit) {
  uint64_t product = 0;
  if (!number || __builtin_mul_overflow(*number, unit, &product)) return std::nullopt;
  return product;
}

std::optional<uint64_t> cpus_in_range(std::string_view range) {
  const auto dash = range.find('-');
  const auto first = parse_number<uint32_t>(range.substr(0, dash));
  const auto last =
      dash == std::string_view::npos ? first : parse_number<uint32_t>(range.substr(dash + 1));
  if (!first || !last || *last < *first || *last > kMostCpus) return std::nullopt;
  return uint64_t{*last} - *first + 1;
}

// "name : value" of percpu_stats.
std::optional<uint64_t> value_of_line(std::string_view line, std::string_view name) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || trim(line.substr(0, colon)) != name) return std::nullopt;
  return parse_number<uint64_t>(trim(line.substr(colon + 1)));
}

}  // namespace

Result<uint64_t> parse_cpu_list(std::string_view text) {
  uint64_t cpus = 0;
  std::string_view rest = trim(text);
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    const auto count = cpus_in_range(rest.substr(0, comma));
    if (!count) return fail("a list of CPUs is not understood: '{}'", trim(text));
    cpus += *count;
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
  }
  if (cpus == 0) return fail("a list of CPUs is empty");
  return cpus;
}

Result<std::vector<model::SwapDevice>> parse_swaps(std::string_view text) {
  if (auto whole = check_whole(text, "/proc/swaps"); !whole) {
    return std::unexpected(whole.error());
  }
  if (!text.starts_with("Filename")) return fail("/proc/swaps has no header that is known");
  std::vector<model::SwapDevice> devices;
  for_each_line(text, [&](std::string_view line) {
    if (line.starts_with("Filename")) return;
    model::SwapDevice device;
    device.name = next_word(line);
    device.type = next_word(line);
    const auto size = scaled(parse_number<uint64_t>(next_word(line)), 1024);
    const auto used = scaled(parse_number<uint64_t>(next_word(line)), 1024);
    if (!size || !used) return;
    device.size_bytes = *size;
    device.used_bytes = *used;
    devices.push_back(std::move(device));
  });
  return devices;
}

Result<model::ZramDevice> parse_zram_mm_stat(std::string_view text, std::string_view name) {
  const auto stored = parse_number<uint64_t>(next_word(text));
  skip_words(text, 1);  // the compressed data without the allocator's rim
  const auto used = parse_number<uint64_t>(next_word(text));
  if (!stored || !used) return fail("mm_stat of {} is empty or cut off", name);
  return model::ZramDevice{.name = std::string(name), .stored_bytes = *stored, .used_bytes = *used};
}

Result<std::vector<model::ProtocolMemory>> parse_sockstat(std::string_view text,
                                                          uint64_t page_bytes) {
  if (auto whole = check_whole(text, "/proc/net/sockstat"); !whole) {
    return std::unexpected(whole.error());
  }
  std::vector<model::ProtocolMemory> protocols;
  for_each_line(text, [&](std::string_view line) {
    std::string_view protocol = next_word(line);
    if (!protocol.ends_with(':')) return;
    protocol.remove_suffix(1);
    for (auto key = next_word(line); !key.empty(); key = next_word(line)) {
      const auto number = parse_number<uint64_t>(next_word(line));
      const bool in_pages = key == "mem";
      if (!in_pages && key != "memory") continue;
      if (const auto bytes = scaled(number, in_pages ? page_bytes : 1)) {
        protocols.push_back({std::string(protocol), *bytes});
      }
    }
  });
  if (protocols.empty()) return fail("/proc/net/sockstat tells no protocol's memory");
  return protocols;
}

Result<std::vector<model::FreeBlocks>> parse_buddyinfo(std::string_view text) {
  if (auto whole = check_whole(text, "/proc/buddyinfo"); !whole) {
    return std::unexpected(whole.error());
  }
  std::vector<model::FreeBlocks> zones;
  for_each_line(text, [&](std::string_view line) {
    model::FreeBlocks zone;
    if (next_word(line) != "Node") return;
    std::string_view node = next_word(line);
    if (node.ends_with(',')) node.remove_suffix(1);
    const auto number = parse_number<uint32_t>(node);
    if (!number || next_word(line) != "zone") return;
    zone.node = *number;
    zone.zone = next_word(line);
    for (auto word = next_word(line); !word.empty(); word = next_word(line)) {
      const auto count = parse_number<uint64_t>(word);
      if (!count) return;
      zone.count_by_order.push_back(*count);
    }
    if (!zone.count_by_order.empty()) zones.push_back(std::move(zone));
  });
  if (zones.empty()) return fail("/proc/buddyinfo lists no zone");
  return zones;
}

std::vector<std::string> parse_modules(std::string_view text) {
  std::vector<std::string> names;
  for_each_line(text, [&](std::string_view line) {
    const std::string_view name = next_word(line);
    if (!name.empty()) names.emplace_back(name);
  });
  return names;
}

Result<uint64_t> parse_percpu_first_chunk_pages(std::string_view text, uint64_t page_bytes) {
  std::optional<uint64_t> fixed;
  std::optional<uint64_t> reserved;
  std::optional<uint64_t> dynamic;
  for_each_line(text, [&](std::string_view line) {
    if (const auto value = value_of_line(line, "static_size")) fixed = value;
    if (const auto value = value_of_line(line, "reserved_size")) reserved = value;
    if (const auto value = value_of_line(line, "dyn_size")) dynamic = value;
  });
  if (!fixed || !reserved || !dynamic) return fail("percpu_stats does not tell the first chunk");
  constexpr uint64_t kMost = uint64_t{1} << 40;
  if (*fixed > kMost || *reserved > kMost || *dynamic > kMost) {
    return fail("percpu_stats tells sizes that cannot be");
  }
  return (*fixed + *reserved + *dynamic + page_bytes - 1) / page_bytes;
}

std::optional<bool> parse_kernel_config(std::string_view text, std::string_view option) {
  if (text.find("CONFIG_") == std::string_view::npos) return std::nullopt;
  const std::string built_in = fmt::format("{}=y", option);
  bool found = false;
  for_each_line(text, [&](std::string_view line) { found = found || trim(line) == built_in; });
  return found;
}

}  // namespace tidemark::system
