// SPDX-License-Identifier: Apache-2.0
//
// Sockets with their memory, as the kernel's sock_diag says it over netlink. It speaks of one
// network namespace, that of the calling thread, and does not know processes: the inode leads to
// them. Parsers are pure and take one message without its netlink header.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "model/owner_table.h"
#include "support/result.h"

namespace tidemark::system {

using Message = std::span<const std::byte>;

// None where the message is too short or of another family. `netns` stays empty, the interface of a
// packet socket is "if3" until somebody who can ask for its name does.
[[nodiscard]] std::optional<model::SocketFacts> parse_inet_diag(Message message, int protocol);
[[nodiscard]] std::optional<model::SocketFacts> parse_unix_diag(Message message);
[[nodiscard]] std::optional<model::SocketFacts> parse_packet_diag(Message message);
[[nodiscard]] std::optional<model::SocketFacts> parse_netlink_diag(Message message);

enum class DiagKind {
  kTcp4,
  kTcp6,
  kUdp4,
  kUdp6,
  kUdpLite4,
  kUdpLite6,
  kRaw4,
  kRaw6,
  kUnix,
  kPacket,
  kNetlink
};
[[nodiscard]] std::span<const DiagKind> all_diag_kinds();
// Of TCP, UDP and raw sockets also the name of the table in /proc/net.
[[nodiscard]] std::string_view name_of(DiagKind kind);

struct InetProtocol {
  int family;    // AF_INET, AF_INET6
  int protocol;  // IPPROTO_TCP and so on, IPPROTO_RAW
};
// None for sockets that do not speak IP.
[[nodiscard]] std::optional<InetProtocol> inet_protocol_of(DiagKind kind);

// All sockets of the kind in this thread's network namespace. An error where the kernel was built
// without the kind's diag module or does not answer.
[[nodiscard]] Result<std::vector<model::SocketFacts>> dump_sockets(DiagKind kind);

}  // namespace tidemark::system
