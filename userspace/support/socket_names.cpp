// SPDX-License-Identifier: Apache-2.0
#include "support/socket_names.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

namespace tidemark {
namespace {

struct Name {
  int number;
  std::string_view text;
};

constexpr std::array kFamilies = {
    Name{AF_UNIX, "unix"},       Name{AF_INET, "inet"},     Name{AF_INET6, "inet6"},
    Name{AF_NETLINK, "netlink"}, Name{AF_PACKET, "packet"}, Name{AF_ALG, "alg"},
    Name{AF_VSOCK, "vsock"},     Name{AF_XDP, "xdp"},       Name{AF_TIPC, "tipc"},
    Name{AF_RDS, "rds"},         Name{AF_CAN, "can"},       Name{AF_BLUETOOTH, "bluetooth"},
    Name{AF_QIPCRTR, "qrtr"},    Name{AF_KEY, "key"},       Name{AF_PPPOX, "pppox"},
};
constexpr std::array kTypes = {
    Name{SOCK_STREAM, "stream"}, Name{SOCK_DGRAM, "dgram"},         Name{SOCK_RAW, "raw"},
    Name{SOCK_RDM, "rdm"},       Name{SOCK_SEQPACKET, "seqpacket"},
};
constexpr std::array kInetProtocols = {
    Name{IPPROTO_ICMP, "icmp"},       Name{IPPROTO_IGMP, "igmp"}, Name{IPPROTO_TCP, "tcp"},
    Name{IPPROTO_UDP, "udp"},         Name{IPPROTO_GRE, "gre"},   Name{IPPROTO_ESP, "esp"},
    Name{IPPROTO_ICMPV6, "icmpv6"},   Name{89, "ospf"},           Name{112, "vrrp"},
    Name{IPPROTO_SCTP, "sctp"},       Name{IPPROTO_RAW, "raw"},   Name{262, "mptcp"},
    Name{IPPROTO_UDPLITE, "udplite"},
};
constexpr std::array kEthernetProtocols = {
    Name{ETH_P_ALL, "all"},           Name{ETH_P_IP, "ip"},
    Name{ETH_P_ARP, "arp"},           Name{ETH_P_IPV6, "ipv6"},
    Name{ETH_P_PPP_DISC, "ppp_disc"}, Name{ETH_P_PPP_SES, "ppp_ses"},
    Name{ETH_P_PAE, "eapol"},         Name{ETH_P_LLDP, "lldp"},
    Name{ETH_P_8021Q, "vlan"},
};
constexpr std::array kNetlinkProtocols = {
    Name{NETLINK_ROUTE, "route"},
    Name{NETLINK_SOCK_DIAG, "sock_diag"},
    Name{NETLINK_XFRM, "xfrm"},
    Name{NETLINK_AUDIT, "audit"},
    Name{NETLINK_CONNECTOR, "connector"},
    Name{NETLINK_NETFILTER, "netfilter"},
    Name{NETLINK_KOBJECT_UEVENT, "uevent"},
    Name{NETLINK_GENERIC, "generic"},
};

template <std::size_t N>
std::string name_in(const std::array<Name, N>& names, int number) {
  const auto found = std::ranges::find(names, number, &Name::number);
  return found != names.end() ? std::string(found->text) : std::to_string(number);
}

}  // namespace

std::string socket_family_name(int family) {
  return name_in(kFamilies, family);
}

std::string socket_type_name(int type) {
  return name_in(kTypes, type);
}

std::string socket_protocol_name(int family, int protocol) {
  if (family == AF_UNIX) return {};
  if (family == AF_INET || family == AF_INET6) return name_in(kInetProtocols, protocol);
  if (family == AF_PACKET) return name_in(kEthernetProtocols, protocol);
  if (family == AF_NETLINK) return name_in(kNetlinkProtocols, protocol);
  return std::to_string(protocol);
}

std::string socket_address_text(std::span<const uint8_t> address, uint16_t port) {
  const bool is_four = address.size() == 4;
  if (!is_four && address.size() != 16) return {};
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(is_four ? AF_INET : AF_INET6, address.data(), text.data(), text.size());
  const bool any = std::ranges::all_of(address, [](uint8_t byte) { return byte == 0; });
  const std::string_view host = any ? "*" : text.data();
  if (port == 0) return std::string(host);
  if (is_four || any) return fmt::format("{}:{}", host, port);
  return fmt::format("[{}]:{}", host, port);
}

std::string unix_name_text(std::string_view name) {
  if (name.empty()) return {};
  std::string text;
  if (name.front() == '\0') {
    text = "@";
    name.remove_prefix(1);
  } else {
    name = name.substr(0, name.find('\0'));
  }
  for (const char c : name) text += c > ' ' && c < '\x7f' ? c : '?';
  return text;
}

}  // namespace tidemark
