// SPDX-License-Identifier: Apache-2.0
//
// Messages of sock_diag and of page pools, built here byte by byte as the kernel lays them out, and
// cut off everywhere.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <linux/genetlink.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <linux/packet_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <functional>
#include <vector>

#include "system/kernel_buffers.h"
#include "system/sock_diag.h"

using namespace tidemark;
using namespace tidemark::system;

namespace {

// A fixed part and the attributes behind it.
class Built {
 public:
  template <typename T>
  explicit Built(const T& fixed) {
    append(&fixed, sizeof(fixed));
  }
  Built& with(uint16_t type, const void* payload, std::size_t bytes) {
    nlattr header{};
    header.nla_type = type;
    header.nla_len = static_cast<uint16_t>(NLA_HDRLEN + bytes);
    append(&header, sizeof(header));
    append(payload, bytes);
    bytes_.resize(NLA_ALIGN(bytes_.size()));
    return *this;
  }
  template <typename T>
  Built& with(uint16_t type, const T& payload) {
    return with(type, &payload, sizeof(payload));
  }
  [[nodiscard]] Message message() const { return bytes_; }

 private:
  void append(const void* data, std::size_t bytes) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + bytes);
    std::memcpy(bytes_.data() + at, data, bytes);
  }
  std::vector<std::byte> bytes_;
};

struct Memory {
  uint32_t rmem = 0, rcvbuf = 0, wmem = 0, sndbuf = 0, forward = 0, queued = 0, options = 0,
           backlog = 0, drops = 0;
};

Memory memory_of(uint32_t rmem, uint32_t wmem) {
  Memory memory;
  memory.rmem = rmem;
  memory.wmem = wmem;
  return memory;
}

// However short a message is, there is an answer, and none reads behind the end (the sanitizers
// would say).
void try_all_lengths(Message whole, const std::function<bool(Message)>& parse,
                     std::size_t shortest_good) {
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const std::vector<std::byte> part(whole.begin(), whole.begin() + static_cast<long>(length));
    CHECK(parse(part) == (length >= shortest_good));
  }
}

}  // namespace

TEST_CASE("sock_diag: a TCP socket") {
  inet_diag_msg fixed{};
  fixed.idiag_family = AF_INET;
  fixed.idiag_inode = 4711;
  fixed.id.idiag_sport = htons(443);
  fixed.id.idiag_src[0] = htonl(0xC0000201);
  auto memory = memory_of(1000, 50);
  memory.queued = 3000;
  memory.backlog = 24;
  memory.forward = 4096;
  memory.drops = 9;
  const auto built = Built(fixed).with(INET_DIAG_SKMEMINFO, memory);
  const auto facts = parse_inet_diag(built.message(), IPPROTO_TCP);
  REQUIRE(facts);
  const model::Socket& socket = facts->socket;
  CHECK(socket.family == "inet");
  CHECK(socket.type == "stream");
  CHECK(socket.protocol == "tcp");
  CHECK(socket.local == "192.0.2.1:443");
  CHECK(socket.inode.value == 4711);
  CHECK(socket.recv_queue_bytes == 1024);
  CHECK(socket.send_queue_bytes == 3000);
  CHECK(socket.forward_alloc_bytes == 4096);
  CHECK(socket.drops == 9);
  CHECK_FALSE(facts->sample);
  const auto parse = [](Message message) {
    return parse_inet_diag(message, IPPROTO_TCP).has_value();
  };
  try_all_lengths(built.message(), parse, sizeof(fixed));
}

TEST_CASE("sock_diag: a raw socket's port is its protocol, negative counters are nothing") {
  inet_diag_msg fixed{};
  fixed.idiag_family = AF_INET6;
  fixed.id.idiag_sport = htons(58);
  auto memory = memory_of(UINT32_MAX, 0);
  memory.forward = 0x80000000;
  const auto facts =
      parse_inet_diag(Built(fixed).with(INET_DIAG_SKMEMINFO, memory).message(), IPPROTO_RAW);
  REQUIRE(facts);
  CHECK(facts->socket.type == "raw");
  CHECK(facts->socket.protocol == "icmpv6");
  CHECK(facts->socket.local == "*");
  CHECK(facts->socket.recv_queue_bytes == 0);
  CHECK(facts->socket.forward_alloc_bytes == 0);
}

TEST_CASE("sock_diag: a unix socket with its peer") {
  unix_diag_msg fixed{};
  fixed.udiag_family = AF_UNIX;
  fixed.udiag_type = SOCK_STREAM;
  fixed.udiag_ino = 10;
  const uint32_t peer = 11;
  const auto built = Built(fixed)
                         .with(UNIX_DIAG_NAME, "/run/x.sock", 11)
                         .with(UNIX_DIAG_PEER, peer)
                         .with(UNIX_DIAG_MEMINFO, memory_of(0, 103169));
  const auto facts = parse_unix_diag(built.message());
  REQUIRE(facts);
  CHECK(facts->socket.local == "/run/x.sock");
  CHECK(facts->socket.peer == model::Inode{11});
  CHECK(facts->socket.send_queue_bytes == 103169);
  const auto parse = [](Message message) { return parse_unix_diag(message).has_value(); };
  try_all_lengths(built.message(), parse, sizeof(fixed));
  const uint32_t none = 0;
  CHECK_FALSE(parse_unix_diag(Built(fixed).with(UNIX_DIAG_PEER, none).message())->socket.peer);
}

TEST_CASE("sock_diag: a packet socket's rings are blocks, and not in its queue") {
  packet_diag_msg fixed{};
  fixed.pdiag_family = AF_PACKET;
  fixed.pdiag_type = SOCK_RAW;
  fixed.pdiag_num = 3;
  fixed.pdiag_ino = 77;
  packet_diag_info info{};
  info.pdi_index = 3;
  packet_diag_ring ring{};
  ring.pdr_block_size = 1 << 20;
  ring.pdr_block_nr = 4096;  // 4 GiB: more than 32 bits
  const auto built = Built(fixed)
                         .with(PACKET_DIAG_INFO, info)
                         .with(PACKET_DIAG_RX_RING, ring)
                         .with(PACKET_DIAG_TX_RING, ring)
                         .with(PACKET_DIAG_MEMINFO, memory_of(213760, 0));
  const auto facts = parse_packet_diag(built.message());
  REQUIRE(facts);
  CHECK(facts->socket.protocol == "all");
  CHECK(facts->socket.local == "if3");
  CHECK(facts->socket.ring_bytes == uint64_t{8} << 30);
  CHECK(facts->socket.recv_queue_bytes == 213760);
  const auto parse = [](Message message) { return parse_packet_diag(message).has_value(); };
  try_all_lengths(built.message(), parse, sizeof(fixed));
}

TEST_CASE("sock_diag: a netlink socket") {
  netlink_diag_msg fixed{};
  fixed.ndiag_family = AF_NETLINK;
  fixed.ndiag_type = SOCK_RAW;
  fixed.ndiag_protocol = NETLINK_ROUTE;
  fixed.ndiag_portid = 4242;
  fixed.ndiag_ino = 5;
  const auto built = Built(fixed).with(NETLINK_DIAG_MEMINFO, memory_of(212992, 0));
  const auto facts = parse_netlink_diag(built.message());
  REQUIRE(facts);
  CHECK(facts->socket.protocol == "route");
  CHECK(facts->socket.local == "4242");
  CHECK(facts->socket.recv_queue_bytes == 212992);
}

TEST_CASE("sock_diag: a message of another family is none") {
  unix_diag_msg fixed{};
  fixed.udiag_family = AF_PACKET;
  CHECK_FALSE(parse_unix_diag(Built(fixed).message()));
  inet_diag_msg inet{};
  inet.idiag_family = AF_UNIX;
  CHECK_FALSE(parse_inet_diag(Built(inet).message(), IPPROTO_TCP));
}

TEST_CASE("kernel_buffers: a page pool, numbers of 4 and of 8 bytes") {
  genlmsghdr fixed{};
  const uint32_t id = 19, interface = 2;
  const uint64_t bytes = 5ULL << 32;
  const auto built = Built(fixed).with(1, id).with(2, interface).with(5, bytes);
  const auto pool = parse_page_pool(built.message());
  REQUIRE(pool);
  CHECK(pool->id == 19);
  CHECK(pool->interface == 2);
  CHECK(pool->bytes == bytes);
  CHECK_FALSE(pool->detached);
  const uint32_t since = 12;
  CHECK(parse_page_pool(Built(fixed).with(1, id).with(6, since).message())->detached);
  const auto parse = [](Message message) { return parse_page_pool(message).has_value(); };
  try_all_lengths(built.message(), parse, sizeof(fixed) + NLA_HDRLEN + sizeof(id));
}
