// SPDX-License-Identifier: Apache-2.0
//
// Records of the iterators as values: names, sizes, and what counts as a ghost.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <cstring>

#include "sources/bpf_maps.h"
#include "sources/task_file_records.h"

using namespace tidemark;
using namespace tidemark::sources;

namespace {

constexpr uint64_t kPage = 4096;

tm_open_file record_of(tm_file_kind kind) {
  tm_open_file record{};
  record.kind = kind;
  record.inode = 77;
  record.pid = 100;
  record.tid = 100;
  record.fd = 3;
  std::strcpy(record.comm, "plant");
  return record;
}

model::MemoryOwners owners_of(const tm_open_file& record) {
  model::OwnerTable table;
  add_record(record, kPage, table);
  model::MemoryOwners owners;
  table.write_to(owners);
  return owners;
}

}  // namespace

TEST_CASE("task_file_records: a packet ring is its blocks, wherever they lie") {
  auto record = record_of(TM_FILE_SOCKET);
  record.socket.family = AF_PACKET;
  record.socket.type = SOCK_RAW;
  record.socket.protocol = 0x8863;
  record.socket.ring_pages = 16384;
  record.socket.netns = 4026531840;
  record.socket.ring_distance = 1LL << 33;  // elsewhere in the 16 GiB of this machine
  std::strcpy(record.socket.interface, "eth1");
  const auto owners = owners_of(record);
  REQUIRE(owners.sockets.size() == 1);
  const model::Socket& socket = owners.sockets[0];
  CHECK(socket.family == "packet");
  CHECK(socket.protocol == "ppp_disc");
  CHECK(socket.local == "eth1");
  CHECK(socket.netns.value == 4026531840);
  CHECK(socket.ring_bytes == 64 << 20);
  CHECK(socket.ghost_bytes == 64 << 20);
  CHECK(socket.holder->comm == "plant");
  record.socket.ring_distance = 0x418'0000'0000'0000 >> 4;  // the vmalloc area
  CHECK(owners_of(record).sockets[0].ghost_bytes == 0);
  record.socket.ring_distance = -record.socket.ring_distance;
  CHECK(owners_of(record).sockets[0].ghost_bytes == 0);
}

TEST_CASE("task_file_records: addresses read as ss says them") {
  auto record = record_of(TM_FILE_SOCKET);
  record.socket.rmem_alloc = 1;
  record.socket.family = AF_INET;
  record.socket.type = SOCK_STREAM;
  record.socket.protocol = 6;
  record.socket.port = 80;
  const uint8_t four[] = {192, 0, 2, 1};
  std::memcpy(record.socket.address, four, 4);
  CHECK(owners_of(record).sockets[0].local == "192.0.2.1:80");
  CHECK(owners_of(record).sockets[0].protocol == "tcp");
  record.socket.family = AF_INET6;
  record.socket.type = SOCK_RAW;
  record.socket.protocol = 58;
  std::memset(record.socket.address, 0, 16);
  CHECK(owners_of(record).sockets[0].local == "*");
  CHECK(owners_of(record).sockets[0].protocol == "icmpv6");
  record.socket.family = AF_UNIX;
  record.socket.wmem_alloc = 1;
  std::memcpy(record.socket.name, "\0plant\n", 8);
  record.socket.name_length = 9;
  CHECK(owners_of(record).sockets[0].local == "@plant?");
  record.socket.name_length = 2;
  CHECK(owners_of(record).sockets[0].local.empty());
}

TEST_CASE("task_file_records: counters that went below zero count nothing") {
  auto record = record_of(TM_FILE_SOCKET);
  record.socket.family = AF_INET;
  record.socket.rmem_alloc = -1;
  record.socket.forward_alloc = -4096;
  CHECK(owners_of(record).sockets.empty());
}

TEST_CASE("task_file_records: slots of a pipe behind the sample count as its own") {
  auto record = record_of(TM_FILE_PIPE);
  record.pipe = {.slots = 1000, .sampled = 256, .own_pages = 250, .spare_pages = 2};
  const auto owners = owners_of(record);
  REQUIRE(owners.holders.size() == 1);
  CHECK(owners.holders[0].bytes == (250 + 744 + 2) * kPage);
  CHECK(owners.holders[0].ghost_bytes == owners.holders[0].bytes);
  record.pipe = {.slots = 16, .sampled = 16, .own_pages = 0, .spare_pages = 0};  // all spliced
  CHECK(owners_of(record).holders.empty());
}

TEST_CASE("task_file_records: an io_uring by its regions, or by its entries") {
  tm_io_uring regions{};
  regions.region_pages = 9;
  regions.has_regions = 1;
  CHECK(io_uring_bytes(regions, kPage) == 9 * kPage);
  // 4096 submissions of 64 bytes: 64 pages. 8192 completions of 16 bytes, 4096 indexes, and a
  // header: 147,776 bytes, so 64 pages by the power of two.
  tm_io_uring old{};
  old.sq_entries = 4096;
  old.cq_entries = 8192;
  old.rings_header_bytes = 320;
  CHECK(io_uring_bytes(old, kPage) == (64 + 64) * kPage);
  tm_io_uring wide = old;
  wide.flags = (1U << 10) | (1U << 11);
  CHECK(io_uring_bytes(wide, kPage) == (128 + 128) * kPage);
  tm_io_uring users = old;
  users.flags = 1U << 14;
  CHECK(io_uring_bytes(users, kPage) == 0);
}

TEST_CASE("task_file_records: memfds and deleted files, hugetlbfs without a resident figure") {
  auto record = record_of(TM_FILE_NAMELESS);
  std::strcpy(record.nameless.name, "memfd:cache");
  std::strcpy(record.nameless.fs_type, "tmpfs");
  record.nameless.allocated_bytes = 64 << 20;
  record.nameless.cached_pages = 16384;
  record.nameless.device = (253U << 20) | 7;
  auto owners = owners_of(record);
  REQUIRE(owners.memfds.size() == 1);
  CHECK(owners.memfds[0].name == "memfd:cache");
  CHECK(owners.memfds[0].bytes == 64 << 20);
  CHECK(owners.memfds[0].resident_bytes == 64 << 20);
  CHECK(owners.memfds[0].device == 0xfd07);
  std::strcpy(record.nameless.name, "pool");
  record.nameless.magic = 0x958458f6;
  owners = owners_of(record);
  REQUIRE(owners.deleted_files.size() == 1);
  CHECK_FALSE(owners.deleted_files[0].resident_bytes);
}

TEST_CASE("task_file_records: a kind of a newer program is passed over") {
  auto record = record_of(TM_FILE_PIPE);
  record.kind = 99;
  const auto owners = owners_of(record);
  CHECK(owners.holders.empty());
  CHECK(owners.sockets.empty());
}

TEST_CASE("bpf_maps: names, ring buffers, memlock") {
  CHECK(bpf_map_type_name(1) == "hash");
  CHECK(bpf_map_type_name(27) == "ringbuf");
  CHECK(bpf_map_type_name(33) == "arena");
  CHECK(bpf_map_type_name(4711) == "4711");
  CHECK(ring_buffer_bytes(16 << 20, kPage) == (16 << 20) + 3 * kPage);
  CHECK(parse_map_memlock("pos:\t0\nmap_type:\t2\nmemlock:\t67113160\nmap_id:\t7\n") == 67113160);
  CHECK_FALSE(parse_map_memlock("pos:\t0\nmap_type:\t2\n"));
  CHECK_FALSE(parse_map_memlock("memlock:\tmuch\n"));
  CHECK_FALSE(parse_map_memlock(""));
}
