// SPDX-License-Identifier: Apache-2.0
//
// Planted shared memory: files without a name, a full tmpfs, SysV segments. owners.h says how.
#include <doctest/doctest.h>

#include <algorithm>

#include "owners.h"

using namespace tidemark;
using namespace tidemark::test;
using model::OwnersPath;

TEST_CASE("owners_memfd") {
  if (cannot_look()) return;
  const Plant plant("memfd", 64);
  on_both_paths([&](const model::MemoryOwners& owners) {
    const auto* file = row_of(owners.memfds, plant);
    REQUIRE(file != nullptr);
    CHECK(file->name == plant.ledger["name"]);
    CHECK(file->fs_type == "tmpfs");
    CHECK(file->bytes == plant.bytes());
    CHECK(file->holder.fd == plant.fd());
  });
}

TEST_CASE("owners_shared_memory_that_only_a_mapping_holds") {
  if (cannot_look()) return;
  for (const char* kind : {"mapped_memfd", "shared_anonymous"}) {
    CAPTURE(kind);
    const Plant plant(kind, 16);
    for (const OwnersPath path : {OwnersPath::kIterator, OwnersPath::kProc}) {
      const auto owners = owners_by(path);
      const bool is_memfd = plant.ledger["name"] != "/dev/zero";
      const auto* file = row_of(is_memfd ? owners.memfds : owners.deleted_files, plant);
      if (path == OwnersPath::kIterator && !kernel_names("bpf_iter_task_vma")) {  // until 5.12
        CHECK(reason_against(owners, "iter/task_vma"));
        CHECK(file == nullptr);
        continue;
      }
      REQUIRE(file != nullptr);
      CHECK(file->name == plant.ledger["name"]);
      CHECK(file->bytes == plant.bytes());
      CHECK_FALSE(file->holder.fd);
    }
  }
}

TEST_CASE("owners_an_attached_sysv_segment_is_no_file") {
  if (cannot_look()) return;
  Plant plant("sysv_attached", 16);
  on_both_paths([&](const model::MemoryOwners& owners) {
    CHECK(row_of(owners.deleted_files, plant) == nullptr);
    const auto found = std::ranges::find(owners.sysv_segments, plant.ledger["count"].get<int32_t>(),
                                         &model::SysvSegment::id);
    REQUIRE(found != owners.sysv_segments.end());
    CHECK(found->attached == 1);
  });
  plant.target.say("quit");
  CHECK(plant.target.process().wait_exit());
}

TEST_CASE("owners_deleted_file") {
  if (cannot_look()) return;
  const Plant plant("deleted_file", 16);
  on_both_paths([&](const model::MemoryOwners& owners) {
    const auto* file = row_of(owners.deleted_files, plant);
    REQUIRE(file != nullptr);
    CHECK(file->name == plant.ledger["name"]);
    CHECK(file->fs_type == "tmpfs");
    CHECK(file->bytes == plant.bytes());
    CHECK(file->holder.fd == plant.fd());
  });
}

TEST_CASE("owners_full_tmpfs_in_a_mount_namespace") {
  if (cannot_look()) return;
  const Plant plant("tmpfs_file", 16);
  on_both_paths([&](const model::MemoryOwners& owners) {
    const auto found = std::ranges::find_if(owners.tmpfs, [&](const model::TmpfsMount& mount) {
      return mount.seen_by.value == plant.target.pid() && mount.path == "/mnt";
    });
    REQUIRE(found != owners.tmpfs.end());
    REQUIRE(found->bytes);
    CHECK(*found->bytes == plant.bytes() + kMiB);
    REQUIRE(found->largest.size() == 2);
    CHECK(found->largest[0].path == plant.ledger["name"]);
    CHECK(found->largest[0].bytes == plant.bytes());
    CHECK(found->walk_complete);
  });
}

TEST_CASE("owners_sysv_segment_that_nobody_attaches") {
  if (cannot_look()) return;
  Plant plant("sysv", 16);
  on_both_paths([&](const model::MemoryOwners& owners) {
    const auto found = std::ranges::find(owners.sysv_segments, plant.ledger["count"].get<int32_t>(),
                                         &model::SysvSegment::id);
    REQUIRE(found != owners.sysv_segments.end());
    CHECK(found->attached == 0);
    CHECK(found->size_bytes == plant.bytes());
    CHECK(found->resident_bytes + found->swap_bytes == plant.bytes());
    CHECK(found->creator.value == plant.target.pid());
    CHECK(found->creator_comm == plant.comm());
  });
  plant.target.say("quit");  // it removes the segment
  CHECK(plant.target.process().wait_exit());
}
