// SPDX-License-Identifier: Apache-2.0
#include "sources/bpf_maps.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "support/file.h"
#include "support/strings.h"
#include "support/unique_fd.h"

namespace tidemark::sources {
namespace {

// Linux 6.9 and 6.1: newer than the headers of some build hosts.
constexpr uint32_t kMapTypeArena = 33;
constexpr uint32_t kMapTypeUserRingbuf = 31;

std::optional<uint64_t> told_bytes(int fd) {
  const auto fdinfo = read_file(fmt::format("/proc/self/fdinfo/{}", fd));
  return fdinfo ? parse_map_memlock(*fdinfo) : std::nullopt;
}

std::optional<uint64_t> arena_bytes(uint32_t id, std::span<const ArenaPages> arenas,
                                    uint64_t page_bytes) {
  const auto found = std::ranges::find(arenas, id, &ArenaPages::map_id);
  if (found == arenas.end()) return std::nullopt;
  return found->pages * page_bytes;
}

model::BpfMap to_map(const bpf_map_info& info, int fd, std::span<const ArenaPages> arenas) {
  const auto page_bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  model::BpfMap map;
  map.id = info.id;
  map.name.assign(info.name, ::strnlen(info.name, sizeof(info.name)));
  map.type = bpf_map_type_name(info.type);
  if (info.type == BPF_MAP_TYPE_RINGBUF || info.type == kMapTypeUserRingbuf) {
    map.bytes = ring_buffer_bytes(info.max_entries, page_bytes);
    map.ghost_bytes = *map.bytes;
  } else if (info.type == kMapTypeArena) {
    map.bytes = arena_bytes(info.id, arenas, page_bytes);
    map.ghost_bytes = map.bytes.value_or(0);
  } else {
    map.bytes = told_bytes(fd);
  }
  return map;
}

}  // namespace

std::string bpf_map_type_name(uint32_t type) {
  if (type == kMapTypeArena) return "arena";
  const char* name = libbpf_bpf_map_type_str(static_cast<bpf_map_type>(type));
  return name != nullptr ? name : std::to_string(type);
}

uint64_t ring_buffer_bytes(uint64_t data_bytes, uint64_t page_bytes) {
  constexpr uint64_t kPagesInFront = 3;
  return data_bytes + kPagesInFront * page_bytes;
}

std::optional<uint64_t> parse_map_memlock(std::string_view fdinfo) {
  std::optional<uint64_t> bytes;
  for_each_line(fdinfo, [&](std::string_view line) {
    if (next_word(line) == "memlock:") bytes = parse_number<uint64_t>(trim(line));
  });
  return bytes;
}

Result<std::vector<model::BpfMap>> read_bpf_maps(std::span<const ArenaPages> arenas) {
  std::vector<model::BpfMap> maps;
  uint32_t id = 0;
  while (bpf_map_get_next_id(id, &id) == 0) {
    const UniqueFd fd(bpf_map_get_fd_by_id(id));
    if (!fd.valid() && errno == ENOENT) continue;  // gone meanwhile
    if (!fd.valid()) return fail_errno(errno, "cannot open the BPF map {}", id);
    bpf_map_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) {
      return fail_errno(errno, "cannot ask the kernel about the BPF map {}", id);
    }
    maps.push_back(to_map(info, fd.get(), arenas));
  }
  if (errno != ENOENT) {
    return fail_errno(errno, "cannot list the BPF maps, run as root");
  }
  std::ranges::stable_sort(maps, std::ranges::greater{}, &model::BpfMap::bytes);
  return maps;
}

}  // namespace tidemark::sources
