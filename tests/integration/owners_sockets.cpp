// SPDX-License-Identifier: Apache-2.0
//
// Planted sockets, and both ways of looking beside each other. owners.h says how.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "owners.h"

using namespace tidemark;
using namespace tidemark::test;
using model::OwnersPath;

namespace {

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

TEST_CASE("closed_tcp_connection_that_still_sends_is_found") {
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
