// SPDX-License-Identifier: Apache-2.0
#include "system/fdinfo.h"

#include <algorithm>
#include <array>

#include "support/strings.h"

namespace tidemark::system {
namespace {

constexpr std::string_view kDeleted = " (deleted)";
constexpr std::string_view kGpuDirectory = "/dev/dri/";

struct AnonymousKind {
  std::string_view link;
  FdKind kind;
};
constexpr std::array kAnonymous = {
    AnonymousKind{"anon_inode:[perf_event]", FdKind::kPerf},
    AnonymousKind{"anon_inode:[io_uring]", FdKind::kIoUring},
    AnonymousKind{"anon_inode:bpf-map", FdKind::kBpfMap},
};

// "socket:[123]" with the prefix "socket:[".
std::optional<uint64_t> number_in_brackets(std::string_view link, std::string_view prefix) {
  if (!link.starts_with(prefix) || !link.ends_with(']')) return std::nullopt;
  return parse_number<uint64_t>(link.substr(prefix.size(), link.size() - prefix.size() - 1));
}

// Calls visit(key, value) for each "key:  value".
template <typename Visit>
void for_each_field(std::string_view text, Visit visit) {
  for_each_line(text, [&](std::string_view line) {
    const auto colon = line.find(':');
    if (colon != std::string_view::npos) visit(line.substr(0, colon), trim(line.substr(colon + 1)));
  });
}

// "1024 KiB", "3 MiB", "77".
std::optional<uint64_t> parse_drm_bytes(std::string_view value) {
  const auto number = parse_number<uint64_t>(next_word(value));
  if (!number) return std::nullopt;
  const auto unit = trim(value);
  if (unit.empty()) return number;
  if (unit == "KiB") return *number << 10;
  if (unit == "MiB") return *number << 20;
  return std::nullopt;
}

// The lines that speak of memory, the one that says most first.
constexpr std::array<std::string_view, 3> kMemoryKeys = {"drm-resident-", "drm-memory-",
                                                         "drm-total-"};

bool is_of_the_machine(std::string_view region) {
  // "vram", "vram0", "local0", "stolen": the card's, or never the machine's to begin with.
  constexpr std::array<std::string_view, 5> kMachine = {"gtt", "cpu", "system", "memory", "smem"};
  return std::ranges::any_of(kMachine,
                             [&](std::string_view prefix) { return region.starts_with(prefix); });
}

}  // namespace

FdTarget parse_fd_link(std::string_view link) {
  FdTarget target;
  if (const auto inode = number_in_brackets(link, "socket:[")) {
    target.kind = FdKind::kSocket;
    target.inode = *inode;
    return target;
  }
  if (const auto inode = number_in_brackets(link, "pipe:[")) {
    target.kind = FdKind::kPipe;
    target.inode = *inode;
    return target;
  }
  for (const auto& [text, kind] : kAnonymous) {
    if (link == text) target.kind = kind;
  }
  if (link.starts_with(kGpuDirectory)) target.kind = FdKind::kGpu;
  if (link.starts_with('/') && link.ends_with(kDeleted)) {
    link.remove_suffix(kDeleted.size());
    target.kind = FdKind::kDeletedFile;
    if (link.starts_with("/memfd:")) link.remove_prefix(1);
  }
  if (target.kind == FdKind::kDeletedFile || target.kind == FdKind::kGpu) target.path = link;
  return target;
}

std::optional<uint32_t> parse_map_id(std::string_view fdinfo) {
  std::optional<uint32_t> id;
  for_each_field(fdinfo, [&](std::string_view key, std::string_view value) {
    if (key == "map_id") id = parse_number<uint32_t>(value);
  });
  return id;
}

std::optional<IoUringEntries> parse_io_uring(std::string_view fdinfo) {
  std::optional<uint32_t> sq_mask, cq_mask;
  for_each_field(fdinfo, [&](std::string_view key, std::string_view value) {
    if (value.starts_with("0x")) value.remove_prefix(2);
    if (key == "SqMask") sq_mask = parse_number<uint32_t>(value, 16);
    if (key == "CqMask") cq_mask = parse_number<uint32_t>(value, 16);
  });
  if (!sq_mask || !cq_mask) return std::nullopt;
  return IoUringEntries{*sq_mask + 1, *cq_mask + 1};
}

std::optional<DrmClient> parse_drm(std::string_view fdinfo) {
  DrmClient client;
  bool has_id = false;
  std::map<std::string, std::size_t, std::less<>> best;  // by region, index into kMemoryKeys
  for_each_field(fdinfo, [&](std::string_view key, std::string_view value) {
    if (key == "drm-driver") client.driver = value;
    if (key == "drm-pdev") client.device = value;
    if (key == "drm-client-id") {
      const auto id = parse_number<uint64_t>(value);
      has_id = id.has_value();
      client.client_id = id.value_or(0);
    }
    for (std::size_t rank = 0; rank < kMemoryKeys.size(); ++rank) {
      if (!key.starts_with(kMemoryKeys[rank])) continue;
      const std::string region(key.substr(kMemoryKeys[rank].size()));
      const auto bytes = parse_drm_bytes(value);
      const auto known = best.find(region);
      if (!bytes || (known != best.end() && known->second <= rank)) continue;
      best.insert_or_assign(region, rank);
      client.bytes_by_region.insert_or_assign(region, *bytes);
    }
  });
  if (!has_id || client.driver.empty()) return std::nullopt;
  return client;
}

uint64_t system_memory_bytes(const DrmClient& client) {
  uint64_t sum = 0;
  for (const auto& [region, bytes] : client.bytes_by_region) {
    if (is_of_the_machine(region)) sum += bytes;
  }
  return sum;
}

uint64_t driver_page_bytes(const DrmClient& client) {
  // The drivers of TTM, which takes its pages from the page allocator.
  constexpr std::array<std::string_view, 7> kTtm = {"amdgpu", "radeon", "nouveau", "xe",
                                                    "vmwgfx", "qxl",    "hibmc"};
  const bool own = std::ranges::find(kTtm, client.driver) != kTtm.end();
  return own ? system_memory_bytes(client) : 0;
}

}  // namespace tidemark::system
