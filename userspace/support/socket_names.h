// SPDX-License-Identifier: Apache-2.0
//
// What people call address families, socket types, protocols and addresses: the names of ss(8). A
// number without a name stays a number. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tidemark {

[[nodiscard]] std::string socket_family_name(int family);
[[nodiscard]] std::string socket_type_name(int type);
// A protocol means something else in each family; in "packet" it is an Ethernet type.
[[nodiscard]] std::string socket_protocol_name(int family, int protocol);

// "192.0.2.1:80", "[::1]:80"; without a port (raw sockets) the address alone, "*" for any.
// `address` is in network order, 4 or 16 bytes.
[[nodiscard]] std::string socket_address_text(std::span<const uint8_t> address, uint16_t port);
// A path, or "@name" for an abstract one; empty where unbound. What is not printable becomes '?'.
[[nodiscard]] std::string unix_name_text(std::string_view name);

}  // namespace tidemark
