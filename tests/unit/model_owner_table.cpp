// SPDX-License-Identifier: Apache-2.0
//
// Objects and descriptors, in any order, become owners: each object once, its lowest holder named,
// unix queues paired with the other end, and never more ghost than bytes.
#include <doctest/doctest.h>

#include "model/owner_table.h"

using namespace tidemark::model;

namespace {

constexpr uint64_t kMiB = 1 << 20;

Opening opening(int32_t pid, int32_t fd, const char* comm = "plant") {
  return {Pid{pid}, comm, fd};
}

ObjectKey socket_key(uint64_t inode) {
  return {.kind = ObjectKind::kSocket, .number = inode};
}

SocketFacts socket(const char* family, uint64_t inode) {
  SocketFacts facts;
  facts.socket.family = family;
  facts.socket.inode = Inode{inode};
  return facts;
}

GhostHolder pipe_of(uint64_t bytes) {
  GhostHolder holder;
  holder.maker = GhostMaker::kPipe;
  holder.bytes = bytes;
  holder.ghost_bytes = bytes;
  return holder;
}

MemoryOwners owners_of(const OwnerTable& table) {
  MemoryOwners owners;
  table.write_to(owners);
  return owners;
}

}  // namespace

TEST_CASE("owner_table: an object is listed once, with its lowest pid and descriptor") {
  OwnerTable table;
  const ObjectKey key{.kind = ObjectKind::kPipe, .number = 7};
  table.open(key, opening(30, 4, "child"));
  table.add_holder(key, pipe_of(kMiB));
  table.add_holder(key, pipe_of(kMiB));
  table.open(key, opening(20, 9, "parent"));
  table.open(key, opening(20, 5, "parent"));
  table.open(key, opening(20, 5, "parent"));
  const auto owners = owners_of(table);
  REQUIRE(owners.holders.size() == 1);
  REQUIRE(owners.holders[0].holder);
  CHECK(owners.holders[0].holder->pid.value == 20);
  CHECK(owners.holders[0].holder->comm == "parent");
  CHECK(owners.holders[0].holder->fd == 5);
  CHECK(owners.holders[0].holder->descriptors == 3);
  CHECK(owners.ghost_bytes() == kMiB);
}

TEST_CASE("owner_table: the same inode on two devices is two files") {
  OwnerTable table;
  for (const uint64_t device : {1, 2}) {
    HeldFile file;
    file.name = device == 1 ? "memfd:one" : "two";
    file.device = device;
    file.inode = Inode{5};
    file.bytes = kMiB;
    table.add_file(file);
    table.open({.kind = ObjectKind::kFile, .number = 5, .device = device},
               opening(10, static_cast<int32_t>(device)));
  }
  const auto owners = owners_of(table);
  REQUIRE(owners.memfds.size() == 1);
  REQUIRE(owners.deleted_files.size() == 1);
  CHECK(owners.memfds[0].holder.fd == 1);
  CHECK(owners.deleted_files[0].holder.fd == 2);
  CHECK(owners.ghost_bytes() == 0);
}

TEST_CASE("owner_table: a unix queue is charged to the sender, and both ends are named") {
  OwnerTable table;
  auto sender = socket("unix", 1);
  sender.socket.send_queue_bytes = 10 * kMiB;
  sender.socket.peer = Inode{2};
  auto reader = socket("unix", 2);
  reader.socket.peer = Inode{1};
  reader.sample = QueueSample{.queued = 100, .packets = 10, .bytes = 1000, .paged_bytes = 900};
  table.add_socket(sender);
  table.add_socket(reader);
  table.open(socket_key(1), opening(10, 3, "writer"));
  table.open(socket_key(2), opening(11, 4, "reader"));
  const auto owners = owners_of(table);
  REQUIRE(owners.sockets.size() == 1);  // the reader is charged nothing
  const Socket& found = owners.sockets[0];
  CHECK(found.holder->comm == "writer");
  REQUIRE(found.peer_holder);
  CHECK(found.peer_holder->comm == "reader");
  CHECK(found.peer_holder->fd == 4);
  CHECK(found.ghost_bytes == 9 * kMiB);
  CHECK_FALSE(found.ghost_estimated);
}

TEST_CASE("owner_table: what a closed unix sender left is charged to the reader") {
  OwnerTable table;
  auto reader = socket("unix", 2);
  reader.sample = QueueSample{
      .queued = 100, .packets = 10, .bytes = 1000, .paged_bytes = 500, .orphan_bytes = 800};
  table.add_socket(reader);
  const auto owners = owners_of(table);
  REQUIRE(owners.sockets.size() == 1);
  CHECK(owners.sockets[0].recv_queue_bytes == 8000);
  CHECK(owners.sockets[0].ghost_bytes == 4000);
}

TEST_CASE("owner_table: the part in slab is no ghost, a ring in vmalloc neither") {
  OwnerTable table;
  auto raw = socket("inet6", 1);
  raw.socket.recv_queue_bytes = 1000;
  raw.sample = QueueSample{.queued = 1, .packets = 1, .bytes = 1000, .paged_bytes = 0};
  table.add_socket(raw);
  auto in_pages = socket("packet", 2);
  in_pages.socket.ring_bytes = 64 * kMiB;
  table.add_socket(in_pages);
  auto in_vmalloc = socket("packet", 3);
  in_vmalloc.socket.ring_bytes = 32 * kMiB;
  in_vmalloc.ring_memory = RingMemory::kVmalloc;
  table.add_socket(in_vmalloc);
  const auto owners = owners_of(table);
  REQUIRE(owners.sockets.size() == 3);
  CHECK(owners.sockets[0].inode.value == 2);  // widest first
  CHECK(owners.sockets[0].ghost_bytes == 64 * kMiB);
  CHECK(owners.sockets[1].ghost_bytes == 0);
  CHECK(owners.sockets[2].ghost_bytes == 0);
  CHECK_FALSE(owners.sockets[2].ghost_estimated);
}

TEST_CASE("owner_table: a split that nobody looked at is said to be an estimate") {
  OwnerTable table;
  auto raw = socket("inet", 1);
  raw.socket.recv_queue_bytes = 1000;
  table.add_socket(raw);
  const auto owners = owners_of(table);
  REQUIRE(owners.sockets.size() == 1);
  CHECK(owners.sockets[0].ghost_bytes == 1000);
  CHECK(owners.sockets[0].ghost_estimated);
}

TEST_CASE("owner_table: sockets without a file are all kept, empty ones are not") {
  OwnerTable table;
  for (const uint64_t bytes : {5, 6, 0}) {
    auto orphan = socket("inet", 0);
    orphan.socket.send_queue_bytes = bytes;
    table.add_socket(orphan);
  }
  const auto owners = owners_of(table);
  REQUIRE(owners.sockets.size() == 2);
  CHECK(owners.sockets[0].send_queue_bytes == 6);
  CHECK_FALSE(owners.sockets[0].holder);
}

TEST_CASE("owner_table: BPF maps get the process that has them open") {
  OwnerTable table;
  table.open({.kind = ObjectKind::kBpfMap, .number = 12}, opening(9, 3, "loader"));
  MemoryOwners owners;
  owners.bpf_maps.resize(2);
  owners.bpf_maps[0].id = 12;
  owners.bpf_maps[1].id = 13;
  table.write_to(owners);
  REQUIRE(owners.bpf_maps[0].holder);
  CHECK(owners.bpf_maps[0].holder->comm == "loader");
  CHECK_FALSE(owners.bpf_maps[1].holder);
}
