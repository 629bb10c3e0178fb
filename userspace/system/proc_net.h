// SPDX-License-Identifier: Apache-2.0
//
// Sockets out of /proc/net, for kernels built without the diag module of their kind: raw sockets
// have no memory figures elsewhere then. Of the calling thread's network namespace. Packet rings
// are not in /proc/net/packet. Parsers are pure.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "model/owner_table.h"
#include "support/result.h"

namespace tidemark::system {

// /proc/net/raw and raw6. A line that is cut off or not understood is left out.
[[nodiscard]] std::vector<model::SocketFacts> parse_proc_net_raw(std::string_view text, int family);
// /proc/net/packet; the interface is a number, "if3".
[[nodiscard]] std::vector<model::SocketFacts> parse_proc_net_packet(std::string_view text);

// Orphaned TCP sockets of all namespaces, by /proc/net/sockstat.
[[nodiscard]] std::optional<uint64_t> parse_orphans(std::string_view sockstat);

[[nodiscard]] Result<std::vector<model::SocketFacts>> read_proc_net_raw(int family);
[[nodiscard]] Result<std::vector<model::SocketFacts>> read_proc_net_packet();

}  // namespace tidemark::system
