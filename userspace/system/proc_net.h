// SPDX-License-Identifier: Apache-2.0
//
// Sockets out of /proc/net, for kernels without the diag module of their kind. Of the calling
// thread's network namespace. A TCP connection's queues are payload there, not memory; packet rings
// are not in /proc/net/packet. Parsers are pure.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "model/owner_table.h"
#include "support/result.h"

namespace tidemark::system {

// /proc/net/tcp, udp, udplite and raw, and those that end with 6. `protocol`: IPPROTO_TCP and so
// on, IPPROTO_RAW. A line that is cut off or not understood is left out.
[[nodiscard]] std::vector<model::SocketFacts> parse_proc_net_inet(std::string_view text, int family,
                                                                  int protocol);
// /proc/net/packet; the interface is a number, "if3".
[[nodiscard]] std::vector<model::SocketFacts> parse_proc_net_packet(std::string_view text);

// Orphaned TCP sockets of all namespaces, by /proc/net/sockstat.
[[nodiscard]] std::optional<uint64_t> parse_orphans(std::string_view sockstat);

// `file`: its name in /proc/net.
[[nodiscard]] Result<std::vector<model::SocketFacts>> read_proc_net_inet(std::string_view file,
                                                                         int family, int protocol);
[[nodiscard]] Result<std::vector<model::SocketFacts>> read_proc_net_packet();

}  // namespace tidemark::system
