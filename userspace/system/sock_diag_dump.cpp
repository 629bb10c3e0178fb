// SPDX-License-Identifier: Apache-2.0
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <linux/packet_diag.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "system/netlink.h"
#include "system/sock_diag.h"

namespace tidemark::system {
namespace {

struct KindRow {
  DiagKind kind;
  std::string_view name;
  uint8_t family;
  uint8_t protocol;
};

constexpr std::array kKinds = {
    KindRow{DiagKind::kTcp4, "tcp", AF_INET, IPPROTO_TCP},
    KindRow{DiagKind::kTcp6, "tcp6", AF_INET6, IPPROTO_TCP},
    KindRow{DiagKind::kUdp4, "udp", AF_INET, IPPROTO_UDP},
    KindRow{DiagKind::kUdp6, "udp6", AF_INET6, IPPROTO_UDP},
    KindRow{DiagKind::kUdpLite4, "udplite", AF_INET, IPPROTO_UDPLITE},
    KindRow{DiagKind::kUdpLite6, "udplite6", AF_INET6, IPPROTO_UDPLITE},
    KindRow{DiagKind::kRaw4, "raw", AF_INET, IPPROTO_RAW},
    KindRow{DiagKind::kRaw6, "raw6", AF_INET6, IPPROTO_RAW},
    KindRow{DiagKind::kUnix, "unix", AF_UNIX, 0},
    KindRow{DiagKind::kPacket, "packet", AF_PACKET, 0},
    KindRow{DiagKind::kNetlink, "netlink", AF_NETLINK, NDIAG_PROTO_ALL},
};

const KindRow& row_of(DiagKind kind) {
  return kKinds[static_cast<std::size_t>(kind)];
}

template <typename T>
std::vector<std::byte> bytes_of(const T& request) {
  std::vector<std::byte> bytes(sizeof(T));
  std::memcpy(bytes.data(), &request, sizeof(T));
  return bytes;
}

std::vector<std::byte> request_for(const KindRow& row) {
  switch (row.family) {
    case AF_UNIX: {
      unix_diag_req request{};
      request.sdiag_family = AF_UNIX;
      request.udiag_states = UINT32_MAX;
      request.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_MEMINFO;
      return bytes_of(request);
    }
    case AF_PACKET: {
      packet_diag_req request{};
      request.sdiag_family = AF_PACKET;
      request.pdiag_show = PACKET_SHOW_INFO | PACKET_SHOW_RING_CFG | PACKET_SHOW_MEMINFO;
      return bytes_of(request);
    }
    case AF_NETLINK: {
      netlink_diag_req request{};
      request.sdiag_family = AF_NETLINK;
      request.sdiag_protocol = row.protocol;
      request.ndiag_show = NDIAG_SHOW_MEMINFO;
      return bytes_of(request);
    }
    default: {
      inet_diag_req_v2 request{};
      request.sdiag_family = row.family;
      request.sdiag_protocol = row.protocol;
      request.idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1);
      request.idiag_states = UINT32_MAX;
      return bytes_of(request);
    }
  }
}

std::optional<model::SocketFacts> parse(const KindRow& row, Message message) {
  switch (row.family) {
    case AF_UNIX:
      return parse_unix_diag(message);
    case AF_PACKET:
      return parse_packet_diag(message);
    case AF_NETLINK:
      return parse_netlink_diag(message);
    default:
      return parse_inet_diag(message, row.protocol);
  }
}

}  // namespace

std::span<const DiagKind> all_diag_kinds() {
  static constexpr auto kAll = [] {
    std::array<DiagKind, kKinds.size()> kinds{};
    for (std::size_t i = 0; i < kinds.size(); ++i) kinds[i] = kKinds[i].kind;
    return kinds;
  }();
  return kAll;
}

std::string_view name_of(DiagKind kind) {
  return row_of(kind).name;
}

std::optional<InetProtocol> inet_protocol_of(DiagKind kind) {
  const KindRow& row = row_of(kind);
  if (row.family != AF_INET && row.family != AF_INET6) return std::nullopt;
  return InetProtocol{row.family, row.protocol};
}

Result<std::vector<model::SocketFacts>> dump_sockets(DiagKind kind) {
  const KindRow& row = row_of(kind);
  std::vector<model::SocketFacts> sockets;
  const auto visit = [&](Message message) {
    if (auto facts = parse(row, message)) sockets.push_back(std::move(*facts));
  };
  auto dumped = netlink_dump(NETLINK_SOCK_DIAG, {SOCK_DIAG_BY_FAMILY, request_for(row)}, visit);
  if (!dumped) return within(fmt::format("no sock_diag of {} sockets", row.name), dumped.error());
  return sockets;
}

}  // namespace tidemark::system
