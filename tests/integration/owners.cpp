// SPDX-License-Identifier: Apache-2.0
//
// Planted memory is found with its owner and its bytes, by the kernel's iterator and by /proc
// alike. What the plant took comes from its own ledger, never from our output. Needs root.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <set>

#include "collect/memory_owners.h"
#include "tidemark.h"

using namespace tidemark;
using namespace tidemark::test;
using model::OwnersPath;

namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kPage = 4096;

struct Plant {
  Target target;
  Json ledger;

  Plant(const std::string& kind, long amount)
      : target("memory_plants", {kind, std::to_string(amount)}), ledger(target.run()) {}

  [[nodiscard]] uint64_t bytes() const { return ledger["bytes"].get<uint64_t>(); }
  [[nodiscard]] int fd() const { return ledger["fd"].get<int>(); }
  // What the kernel calls it: some name a program that was opened before it ran by its descriptor.
  [[nodiscard]] std::string comm() const {
    std::ifstream file("/proc/" + target.pid_text() + "/comm");
    std::string name;
    std::getline(file, name);
    return name;
  }
  [[nodiscard]] bool holds(const std::optional<model::Holder>& holder) const {
    return holder && holder->pid.value == target.pid();
  }
};

// Not run as root: said, and left out.
bool cannot_look() {
  return ::geteuid() != 0 && skip_because("looking into other processes needs root");
}

model::MemoryOwners owners_by(OwnersPath path) {
  const collect::OwnersReader reader(
      {.prefer = path, .tmpfs_entries = 100'000, .tmpfs_largest = 10});
  auto owners = reader.read();
  for (const model::Coverage& line : owners.coverage) {
    if (line.hook == "iter/task_file" && path == OwnersPath::kIterator) {
      REQUIRE_MESSAGE(line.state == model::HookState::kOn, line.reason.value_or(""));
    }
  }
  REQUIRE(owners.path == path);
  return owners;
}

// Why this kernel cannot say it without the iterator; as the coverage has it.
std::optional<std::string> reason_against(const model::MemoryOwners& owners,
                                          const std::string& hook) {
  for (const model::Coverage& line : owners.coverage) {
    if (line.hook != hook || line.state == model::HookState::kOn) continue;
    REQUIRE(line.reason);
    return line.reason;
  }
  return std::nullopt;
}

// Runs the check on what each of the two ways gives. `hook`: what /proc cannot do without; where
// the kernel was built without it, that has to stand in the coverage, and the check is left out.
void on_both_paths(const std::function<void(const model::MemoryOwners&)>& check,
                   const std::string& hook = "") {
  for (const OwnersPath path : {OwnersPath::kIterator, OwnersPath::kProc}) {
    const std::string name = path == OwnersPath::kIterator ? "the iterator" : "/proc";
    CAPTURE(name);
    const auto owners = owners_by(path);
    const auto reason = reason_against(owners, hook);
    if (path == OwnersPath::kProc && reason) {
      MESSAGE("not to be seen in /proc here: " << *reason);
    } else {
      check(owners);
    }
  }
}

std::vector<model::Socket> sockets_of(const model::MemoryOwners& owners, const Plant& plant) {
  std::vector<model::Socket> found;
  std::ranges::copy_if(owners.sockets, std::back_inserter(found),
                       [&](const model::Socket& socket) { return plant.holds(socket.holder); });
  return found;
}

std::vector<model::GhostHolder> holders_of(const model::MemoryOwners& owners, const Plant& plant,
                                           model::GhostMaker maker) {
  std::vector<model::GhostHolder> found;
  std::ranges::copy_if(owners.holders, std::back_inserter(found),
                       [&](const model::GhostHolder& each) {
                         return each.maker == maker && plant.holds(each.holder);
                       });
  return found;
}

template <typename Row>
const Row* row_of(const std::vector<Row>& rows, const Plant& plant) {
  const auto found =
      std::ranges::find_if(rows, [&](const Row& row) { return plant.holds(row.holder); });
  return found != rows.end() ? &*found : nullptr;
}

bool kernel_has_type(const std::string& name) {
  std::ifstream file("/sys/kernel/btf/vmlinux", std::ios::binary);
  const std::string types{std::istreambuf_iterator<char>(file), {}};
  return types.find('\0' + name + '\0') != std::string::npos;
}

// Since 5.15 or so the masks of the rings are there.
bool fdinfo_tells_entries(const Plant& plant) {
  std::ifstream file("/proc/" + plant.target.pid_text() + "/fdinfo/" + std::to_string(plant.fd()));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return text.find("CqMask") != std::string::npos;
}

uint64_t own_network() {
  struct stat info {};
  REQUIRE(::stat("/proc/self/ns/net", &info) == 0);
  return info.st_ino;
}

}  // namespace

TEST_CASE("owners_packet_ring") {
  if (cannot_look()) return;
  const Plant plant("packet_ring", 64);
  on_both_paths(
      [&](const model::MemoryOwners& owners) {
        const auto sockets = sockets_of(owners, plant);
        REQUIRE(sockets.size() == 1);
        CHECK(sockets[0].family == "packet");
        CHECK(sockets[0].type == "raw");
        CHECK(sockets[0].ring_bytes == plant.bytes());
        CHECK(sockets[0].ghost_bytes == plant.bytes());
        CHECK(sockets[0].recv_queue_bytes == 0);
        CHECK(sockets[0].holder->fd == plant.fd());
        CHECK(sockets[0].holder->comm == plant.comm());
        CHECK(sockets[0].netns.value != own_network());
      },
      "sock_diag/packet");
}

TEST_CASE("owners_unread_packet_socket_in_a_network_namespace") {
  if (cannot_look()) return;
  const Plant plant("packet_queue", 5000);
  on_both_paths([&](const model::MemoryOwners& owners) {
    const auto sockets = sockets_of(owners, plant);
    REQUIRE(sockets.size() == 1);
    CHECK(sockets[0].family == "packet");
    CHECK(sockets[0].protocol == "all");
    CHECK(sockets[0].local == "lo");
    CHECK(sockets[0].recv_queue_bytes == plant.bytes());
    CHECK(sockets[0].ghost_bytes <= plant.bytes());
    CHECK(sockets[0].holder->fd == plant.fd());
    CHECK(sockets[0].netns.value != own_network());
  });
}

TEST_CASE("owners_unread_raw_icmpv6_socket_in_a_network_namespace") {
  if (cannot_look()) return;
  const Plant plant("raw_icmpv6", 5000);
  on_both_paths([&](const model::MemoryOwners& owners) {
    const auto sockets = sockets_of(owners, plant);
    REQUIRE(sockets.size() == 1);
    CHECK(sockets[0].family == "inet6");
    CHECK(sockets[0].type == "raw");
    CHECK(sockets[0].protocol == "icmpv6");
    CHECK(sockets[0].recv_queue_bytes == plant.bytes());
    CHECK(sockets[0].holder->fd == plant.fd());
    CHECK(sockets[0].netns.value != own_network());
  });
}

TEST_CASE("owners_packets_in_slab_are_no_ghost") {
  if (cannot_look()) return;
  // 1400 bytes: from kmalloc, head and data.
  const Plant plant("raw_icmpv6", 1000);
  const auto owners = owners_by(OwnersPath::kIterator);
  const auto sockets = sockets_of(owners, plant);
  REQUIRE(sockets.size() == 1);
  CHECK_FALSE(sockets[0].ghost_estimated);
  CHECK(sockets[0].ghost_bytes < plant.bytes() / 10);
}

TEST_CASE("owners_unix_queues_name_both_ends") {
  if (cannot_look()) return;
  const Plant plant("unix", 64);
  const auto pairs = plant.ledger["count"].get<std::size_t>();
  on_both_paths(
      [&](const model::MemoryOwners& owners) {
        const auto sockets = sockets_of(owners, plant);
        REQUIRE(sockets.size() == pairs);
        uint64_t queued = 0, ghost = 0;
        std::set<int> readers;
        for (const model::Socket& socket : sockets) {
          CHECK(socket.family == "unix");
          CHECK(socket.type == "stream");
          REQUIRE(socket.peer_holder);
          CHECK(socket.peer_holder->pid.value == plant.target.pid());
          CHECK(*socket.peer_holder->fd > *socket.holder->fd);
          CHECK(readers.insert(*socket.peer_holder->fd).second);  // each its own
          queued += socket.send_queue_bytes;
          ghost += socket.ghost_bytes;
        }
        // The kernel's own figure: payload and its packets' heads.
        CHECK(queued >= plant.bytes());
        CHECK(queued <= plant.bytes() + plant.bytes() / 8);
        CHECK(ghost <= queued);
        CHECK(ghost >= plant.bytes() * 3 / 4);
      },
      "sock_diag/unix");
}

TEST_CASE("owners_unix_queue_of_a_closed_sender_is_the_readers") {
  if (cannot_look()) return;
  const Plant plant("unix_closed_sender", 16);
  const auto owners = owners_by(OwnersPath::kIterator);
  const auto sockets = sockets_of(owners, plant);
  REQUIRE(sockets.size() == plant.ledger["count"].get<std::size_t>());
  uint64_t queued = 0;
  for (const model::Socket& socket : sockets) {
    CHECK_FALSE(socket.peer_holder);
    queued += socket.recv_queue_bytes;
  }
  CHECK(queued >= plant.bytes());
  CHECK(queued <= plant.bytes() + plant.bytes() / 8);
}

TEST_CASE("owners_closed_tcp_connection_that_still_sends") {
  if (cannot_look()) return;
  const Plant plant("tcp_orphan", 4);
  struct stat info {};
  REQUIRE(::stat(("/proc/" + plant.target.pid_text() + "/ns/net").c_str(), &info) == 0);
  on_both_paths([&](const model::MemoryOwners& owners) {
    const auto found = std::ranges::find_if(owners.sockets, [&](const model::Socket& socket) {
      return socket.netns.value == info.st_ino && socket.inode.value == 0;
    });
    REQUIRE(found != owners.sockets.end());
    CHECK(found->protocol == "tcp");
    CHECK(found->local.starts_with("127.0.0.1:"));
    CHECK_FALSE(found->holder);
    CHECK(found->send_queue_bytes > plant.bytes() / 2);  // the rest is with the reader
  });
}

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
  if (!kernel_has_type("bpf_arena")) {
    MESSAGE("this kernel has no BPF arenas: nothing to plant");
    return;
  }
  const Plant plant("bpf_arena", 16);
  const auto owners = owners_by(OwnersPath::kIterator);
  const auto* map = row_of(owners.bpf_maps, plant);
  REQUIRE(map != nullptr);
  CHECK(map->type == "arena");
  if (!kernel_has_type("range_tree")) {  // until 6.12
    CHECK_FALSE(map->bytes);
    CHECK(reason_against(owners, "iter/bpf_map"));
    return;
  }
  CHECK_FALSE(reason_against(owners, "iter/bpf_map"));
  CHECK(map->bytes == plant.bytes());
  CHECK(map->ghost_bytes == plant.bytes());
}

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
      const auto reason = reason_against(owners, "iter/task_vma");
      const bool is_memfd = plant.ledger["name"] != "/dev/zero";
      const auto* file = row_of(is_memfd ? owners.memfds : owners.deleted_files, plant);
      if (path == OwnersPath::kIterator && reason) {
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

TEST_CASE("owners_are_gone_when_the_plant_is") {
  if (cannot_look()) return;
  pid_t pid = 0;
  {
    const Plant plant("packet_ring", 16);
    pid = plant.target.pid();
  }
  on_both_paths([&](const model::MemoryOwners& owners) {
    CHECK(std::ranges::none_of(owners.sockets, [&](const model::Socket& socket) {
      return socket.holder && socket.holder->pid.value == pid;
    }));
  });
}

TEST_CASE("owners_both_paths_agree_on_a_quiet_plant_of_every_kind") {
  if (cannot_look()) return;
  const Plant unread("packet_queue", 500), queue("raw_icmpv6", 500), pipes("pipes", 4);
  const Plant memfd("memfd", 4), map("bpf_ringbuf", 1);
  const auto fast = owners_by(OwnersPath::kIterator);
  const auto slow = owners_by(OwnersPath::kProc);
  for (const Plant* plant : {&unread, &queue}) {
    const auto left = sockets_of(fast, *plant), right = sockets_of(slow, *plant);
    REQUIRE(left.size() == 1);
    REQUIRE(right.size() == 1);
    CHECK(left[0].family == right[0].family);
    CHECK(left[0].type == right[0].type);
    CHECK(left[0].protocol == right[0].protocol);
    CHECK(left[0].local == right[0].local);
    CHECK(left[0].inode == right[0].inode);
    CHECK(left[0].netns == right[0].netns);
    CHECK(left[0].bytes() == right[0].bytes());
    if (right[0].drops) CHECK(left[0].drops == right[0].drops);  // not in /proc/net/packet
    CHECK(left[0].holder->fd == right[0].holder->fd);
    CHECK(left[0].holder->cgroup == right[0].holder->cgroup);
    CHECK(left[0].holder->descriptors == right[0].holder->descriptors);
  }
  const auto* fast_file = row_of(fast.memfds, memfd);
  const auto* slow_file = row_of(slow.memfds, memfd);
  REQUIRE(fast_file != nullptr);
  REQUIRE(slow_file != nullptr);
  CHECK(fast_file->device == slow_file->device);
  CHECK(fast_file->inode == slow_file->inode);
  CHECK(fast_file->resident_bytes == fast_file->bytes);
  REQUIRE(row_of(fast.bpf_maps, map) != nullptr);
  CHECK(row_of(fast.bpf_maps, map)->id == row_of(slow.bpf_maps, map)->id);
  CHECK(holders_of(fast, pipes, model::GhostMaker::kPipe).size() >= 4);
}
