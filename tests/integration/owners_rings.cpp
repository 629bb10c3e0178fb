// SPDX-License-Identifier: Apache-2.0
//
// Planted pipes, rings and BPF maps. owners.h says how.
#include <doctest/doctest.h>

#include <fstream>

#include "owners.h"

using namespace tidemark;
using namespace tidemark::test;
using model::OwnersPath;

namespace {

// Since 5.15 or so the masks of the rings are there.
bool fdinfo_tells_entries(const Plant& plant) {
  std::ifstream file("/proc/" + plant.target.pid_text() + "/fdinfo/" + std::to_string(plant.fd()));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return text.find("CqMask") != std::string::npos;
}

}  // namespace

TEST_CASE("owners_full_pipes") {
  if (cannot_look()) return;
  const Plant plant("pipes", 32);
  on_both_paths([&](const model::MemoryOwners& owners) {
    const auto pipes = holders_of(owners, plant, model::GhostMaker::kPipe);
    uint64_t bytes = 0;
    std::size_t full = 0;
    for (const model::GhostHolder& pipe : pipes) {
      REQUIRE(pipe.bytes);
      CHECK(pipe.ghost_bytes == *pipe.bytes);
      // A spare page or two may be kept beside; the plant's own streams are pipes, too.
      if (*pipe.bytes < kMiB) continue;
      CHECK(*pipe.bytes <= kMiB + 2 * kPage);
      CHECK(pipe.holder->descriptors == 2);
      bytes += *pipe.bytes;
      ++full;
    }
    CHECK(full == 32);
    CHECK(bytes >= plant.bytes());
  });
}

TEST_CASE("owners_perf_ring") {
  if (cannot_look()) return;
  const Plant plant("perf_ring", 8);
  on_both_paths([&](const model::MemoryOwners& owners) {
    const auto rings = holders_of(owners, plant, model::GhostMaker::kPerfRing);
    REQUIRE(rings.size() == 1);
    CHECK(rings[0].bytes == plant.bytes());
    CHECK(rings[0].ghost_bytes == plant.bytes());
    CHECK(rings[0].holder->fd == plant.fd());
  });
}

TEST_CASE("owners_io_uring") {
  if (cannot_look()) return;
  const Plant plant("io_uring", 4096);
  on_both_paths([&](const model::MemoryOwners& owners) {
    const auto rings = holders_of(owners, plant, model::GhostMaker::kIoUring);
    REQUIRE(rings.size() == 1);
    CHECK(rings[0].holder->fd == plant.fd());
    if (owners.path == OwnersPath::kProc && !fdinfo_tells_entries(plant)) {
      CHECK_FALSE(rings[0].bytes);  // unknown, not 0
      return;
    }
    REQUIRE(rings[0].bytes);
    // Entries, and what stands before them, in whole pages.
    CHECK(*rings[0].bytes >= plant.bytes());
    CHECK(*rings[0].bytes <= plant.bytes() * 2);
  });
}

TEST_CASE("owners_bpf_ring_buffer_is_a_ghost") {
  if (cannot_look()) return;
  const Plant plant("bpf_ringbuf", 16);
  on_both_paths([&](const model::MemoryOwners& owners) {
    const auto* map = row_of(owners.bpf_maps, plant);
    REQUIRE(map != nullptr);
    CHECK(map->type == "ringbuf");
    CHECK(map->name == "plant");
    CHECK(map->bytes == plant.bytes() + 3 * kPage);
    CHECK(map->ghost_bytes == *map->bytes);
    CHECK(map->holder->fd == plant.fd());
  });
}

TEST_CASE("owners_bpf_array_is_none") {
  if (cannot_look()) return;
  const Plant plant("bpf_array", 64);
  on_both_paths([&](const model::MemoryOwners& owners) {
    const auto* map = row_of(owners.bpf_maps, plant);
    REQUIRE(map != nullptr);
    CHECK(map->type == "array");
    REQUIRE(map->bytes);
    CHECK(*map->bytes >= plant.bytes());
    CHECK(*map->bytes <= plant.bytes() + plant.bytes() / 64);
    CHECK(map->ghost_bytes == 0);
  });
}

TEST_CASE("owners_bpf_arena") {
  if (cannot_look()) return;
  if (!kernel_names("bpf_arena")) {
    MESSAGE("this kernel has no BPF arenas: nothing to plant");
    return;
  }
  const Plant plant("bpf_arena", 16);
  const auto owners = owners_by(OwnersPath::kIterator);
  const auto* map = row_of(owners.bpf_maps, plant);
  REQUIRE(map != nullptr);
  CHECK(map->type == "arena");
  if (!kernel_names("range_tree")) {  // until 6.12
    CHECK_FALSE(map->bytes);
    CHECK(reason_against(owners, "iter/bpf_map"));
    return;
  }
  CHECK_FALSE(reason_against(owners, "iter/bpf_map"));
  CHECK(map->bytes == plant.bytes());
  CHECK(map->ghost_bytes == plant.bytes());
}
