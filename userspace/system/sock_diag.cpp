// SPDX-License-Identifier: Apache-2.0
#include "system/sock_diag.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink_diag.h>
#include <linux/packet_diag.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "support/socket_names.h"

namespace tidemark::system {
namespace {

// The attributes behind a message's fixed part, by number.
template <std::size_t kCount>
class Attributes {
 public:
  Attributes(Message message, std::size_t fixed_bytes) {
    if (message.size() < fixed_bytes) return;
    const auto rest = message.subspan(
        NLMSG_ALIGN(fixed_bytes) <= message.size() ? NLMSG_ALIGN(fixed_bytes) : message.size());
    // libnl takes no const, and writes nothing.
    auto* first = reinterpret_cast<nlattr*>(const_cast<std::byte*>(rest.data()));
    nla_parse(table_.data(), static_cast<int>(kCount) - 1, first, static_cast<int>(rest.size()),
              nullptr);
  }

  // The payload as a value; a shorter one leaves the rest 0, none is none.
  template <typename T>
  [[nodiscard]] std::optional<T> get(std::size_t number) const {
    const nlattr* attribute = table_[number];
    if (attribute == nullptr) return std::nullopt;
    T value{};
    const auto length = static_cast<std::size_t>(nla_len(attribute));
    std::memcpy(&value, nla_data(attribute), std::min(length, sizeof(T)));
    return value;
  }
  [[nodiscard]] std::string_view text(std::size_t number) const {
    const nlattr* attribute = table_[number];
    if (attribute == nullptr) return {};
    return {static_cast<const char*>(nla_data(attribute)),
            static_cast<std::size_t>(nla_len(attribute))};
  }

 private:
  std::array<nlattr*, kCount> table_{};
};

template <typename T>
std::optional<T> fixed_part(Message message) {
  if (message.size() < sizeof(T)) return std::nullopt;
  T value{};
  std::memcpy(&value, message.data(), sizeof(T));
  return value;
}

using Memory = std::array<uint32_t, SK_MEMINFO_VARS>;

void take_memory(const std::optional<Memory>& memory, model::Socket& socket) {
  if (!memory) return;
  // The kernel's counters are signed; a negative one counts nothing.
  const auto at = [&](std::size_t which) -> uint64_t {
    const uint32_t value = (*memory)[which];
    return value > INT32_MAX ? 0 : value;
  };
  socket.recv_queue_bytes = at(SK_MEMINFO_RMEM_ALLOC) + at(SK_MEMINFO_BACKLOG);
  socket.send_queue_bytes = std::max(at(SK_MEMINFO_WMEM_ALLOC), at(SK_MEMINFO_WMEM_QUEUED));
  socket.forward_alloc_bytes = at(SK_MEMINFO_FWD_ALLOC);
  socket.drops = (*memory)[SK_MEMINFO_DROPS];
}

uint64_t ring_bytes(const std::optional<packet_diag_ring>& ring) {
  return ring ? uint64_t{ring->pdr_block_size} * ring->pdr_block_nr : 0;
}

}  // namespace

std::optional<model::SocketFacts> parse_inet_diag(Message message, int protocol) {
  const auto fixed = fixed_part<inet_diag_msg>(message);
  if (!fixed) return std::nullopt;
  const int family = fixed->idiag_family;
  if (family != AF_INET && family != AF_INET6) return std::nullopt;
  const Attributes<INET_DIAG_MAX + 1> attributes(message, sizeof(inet_diag_msg));
  const bool is_raw = protocol == IPPROTO_RAW;
  model::SocketFacts facts;
  model::Socket& socket = facts.socket;
  socket.family = socket_family_name(family);
  socket.type = is_raw ? "raw" : protocol == IPPROTO_TCP ? "stream" : "dgram";
  // The "port" of a raw socket is its protocol.
  const uint16_t port = ntohs(fixed->id.idiag_sport);
  socket.protocol = socket_protocol_name(family, is_raw ? port : protocol);
  const auto* address = reinterpret_cast<const uint8_t*>(fixed->id.idiag_src);
  const std::size_t length = family == AF_INET ? 4 : 16;
  socket.local = socket_address_text({address, length}, is_raw ? uint16_t{0} : port);
  socket.inode = model::Inode{fixed->idiag_inode};
  take_memory(attributes.template get<Memory>(INET_DIAG_SKMEMINFO), socket);
  return facts;
}

std::optional<model::SocketFacts> parse_unix_diag(Message message) {
  const auto fixed = fixed_part<unix_diag_msg>(message);
  if (!fixed || fixed->udiag_family != AF_UNIX) return std::nullopt;
  const Attributes<UNIX_DIAG_MAX + 1> attributes(message, sizeof(unix_diag_msg));
  model::SocketFacts facts;
  model::Socket& socket = facts.socket;
  socket.family = socket_family_name(AF_UNIX);
  socket.type = socket_type_name(fixed->udiag_type);
  socket.local = unix_name_text(attributes.text(UNIX_DIAG_NAME));
  socket.inode = model::Inode{fixed->udiag_ino};
  const auto peer = attributes.template get<uint32_t>(UNIX_DIAG_PEER);
  if (peer && *peer != 0) socket.peer = model::Inode{*peer};
  take_memory(attributes.template get<Memory>(UNIX_DIAG_MEMINFO), socket);
  return facts;
}

std::optional<model::SocketFacts> parse_packet_diag(Message message) {
  const auto fixed = fixed_part<packet_diag_msg>(message);
  if (!fixed || fixed->pdiag_family != AF_PACKET) return std::nullopt;
  const Attributes<PACKET_DIAG_MAX + 1> attributes(message, sizeof(packet_diag_msg));
  model::SocketFacts facts;
  model::Socket& socket = facts.socket;
  socket.family = socket_family_name(AF_PACKET);
  socket.type = socket_type_name(fixed->pdiag_type);
  socket.protocol = socket_protocol_name(AF_PACKET, fixed->pdiag_num);
  socket.inode = model::Inode{fixed->pdiag_ino};
  const auto info = attributes.template get<packet_diag_info>(PACKET_DIAG_INFO);
  socket.local = info && info->pdi_index != 0 ? fmt::format("if{}", info->pdi_index) : "*";
  take_memory(attributes.template get<Memory>(PACKET_DIAG_MEMINFO), socket);
  socket.ring_bytes = ring_bytes(attributes.template get<packet_diag_ring>(PACKET_DIAG_RX_RING)) +
                      ring_bytes(attributes.template get<packet_diag_ring>(PACKET_DIAG_TX_RING));
  return facts;
}

std::optional<model::SocketFacts> parse_netlink_diag(Message message) {
  const auto fixed = fixed_part<netlink_diag_msg>(message);
  if (!fixed || fixed->ndiag_family != AF_NETLINK) return std::nullopt;
  const Attributes<NETLINK_DIAG_MAX + 1> attributes(message, sizeof(netlink_diag_msg));
  model::SocketFacts facts;
  model::Socket& socket = facts.socket;
  socket.family = socket_family_name(AF_NETLINK);
  socket.type = socket_type_name(fixed->ndiag_type);
  socket.protocol = socket_protocol_name(AF_NETLINK, fixed->ndiag_protocol);
  socket.local = std::to_string(fixed->ndiag_portid);
  socket.inode = model::Inode{fixed->ndiag_ino};
  take_memory(attributes.template get<Memory>(NETLINK_DIAG_MEMINFO), socket);
  return facts;
}

}  // namespace tidemark::system
