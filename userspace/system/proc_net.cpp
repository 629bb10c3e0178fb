// SPDX-License-Identifier: Apache-2.0
#include "system/proc_net.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <optional>

#include "support/file.h"
#include "support/socket_names.h"
#include "support/strings.h"

namespace tidemark::system {
namespace {

// "0100007F:003A": words of the address as this machine stores them, then the port.
struct Endpoint {
  std::array<uint8_t, 16> address{};
  std::size_t length = 0;
  uint16_t port = 0;
};

std::optional<Endpoint> parse_endpoint(std::string_view text) {
  constexpr std::size_t kWordDigits = 8;
  const auto colon = text.find(':');
  if (colon == std::string_view::npos || colon % kWordDigits != 0) return std::nullopt;
  Endpoint endpoint;
  for (std::size_t at = 0; at < colon; at += kWordDigits) {
    const auto word = parse_number<uint32_t>(text.substr(at, kWordDigits), 16);
    if (!word || endpoint.length + sizeof(*word) > endpoint.address.size()) return std::nullopt;
    std::memcpy(endpoint.address.data() + endpoint.length, &*word, sizeof(*word));
    endpoint.length += sizeof(*word);
  }
  const auto port = parse_number<uint16_t>(text.substr(colon + 1), 16);
  if (!port) return std::nullopt;
  endpoint.port = *port;
  return endpoint;
}

std::optional<std::pair<uint64_t, uint64_t>> parse_queues(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto sent = parse_number<uint64_t>(text.substr(0, colon), 16);
  const auto received = parse_number<uint64_t>(text.substr(colon + 1), 16);
  if (!sent || !received) return std::nullopt;
  return std::pair{*sent, *received};
}

constexpr unsigned kListening = 10;  // TCP_LISTEN of include/net/tcp_states.h

std::optional<model::SocketFacts> parse_inet_line(std::string_view line, int family, int protocol) {
  skip_words(line, 1);  // its number in the table
  const auto local = parse_endpoint(next_word(line));
  skip_words(line, 1);  // the other end
  const auto state = parse_number<unsigned>(next_word(line), 16);
  const auto queues = parse_queues(next_word(line));
  skip_words(line, 4);  // timers, uid, timeout
  const auto inode = parse_number<uint64_t>(next_word(line));
  if (!local || !state || !queues || !inode) return std::nullopt;
  const bool is_raw = protocol == IPPROTO_RAW, is_tcp = protocol == IPPROTO_TCP;
  model::SocketFacts facts;
  model::Socket& socket = facts.socket;
  socket.family = socket_family_name(family);
  socket.type = is_raw ? "raw" : is_tcp ? "stream" : "dgram";
  socket.protocol = socket_protocol_name(family, is_raw ? local->port : protocol);
  socket.local = socket_address_text({local->address.data(), local->length},
                                     is_raw ? uint16_t{0} : local->port);
  socket.inode = model::Inode{*inode};
  // Of a listening one the figures are connections, not bytes.
  if (!is_tcp || *state != kListening) {
    socket.send_queue_bytes = queues->first;
    socket.recv_queue_bytes = queues->second;
  }
  if (is_tcp) return facts;
  skip_words(line, 2);  // references, address
  socket.drops = parse_number<uint64_t>(next_word(line));
  return facts;
}

std::optional<model::SocketFacts> parse_packet_line(std::string_view line) {
  skip_words(line, 2);  // address, references
  const auto type = parse_number<int>(next_word(line));
  const auto protocol = parse_number<int>(next_word(line), 16);
  const auto interface = parse_number<unsigned>(next_word(line));
  skip_words(line, 1);  // running
  const auto received = parse_number<uint64_t>(next_word(line));
  skip_words(line, 1);  // user
  const auto inode = parse_number<uint64_t>(next_word(line));
  if (!type || !protocol || !interface || !received || !inode) return std::nullopt;
  model::SocketFacts facts;
  model::Socket& socket = facts.socket;
  socket.family = socket_family_name(AF_PACKET);
  socket.type = socket_type_name(*type);
  socket.protocol = socket_protocol_name(AF_PACKET, *protocol);
  socket.local = *interface != 0 ? fmt::format("if{}", *interface) : "*";
  socket.inode = model::Inode{*inode};
  socket.recv_queue_bytes = *received;
  return facts;
}

template <typename ParseLine>
std::vector<model::SocketFacts> parse_table(std::string_view text, ParseLine parse_line) {
  std::vector<model::SocketFacts> sockets;
  for_each_line(text, [&](std::string_view line) {
    if (auto facts = parse_line(line)) sockets.push_back(std::move(*facts));
  });
  return sockets;
}

}  // namespace

std::vector<model::SocketFacts> parse_proc_net_inet(std::string_view text, int family,
                                                    int protocol) {
  return parse_table(
      text, [&](std::string_view line) { return parse_inet_line(line, family, protocol); });
}

std::vector<model::SocketFacts> parse_proc_net_packet(std::string_view text) {
  return parse_table(text, parse_packet_line);
}

std::optional<uint64_t> parse_orphans(std::string_view sockstat) {
  std::optional<uint64_t> orphans;
  for_each_line(sockstat, [&](std::string_view line) {
    if (next_word(line) != "TCP:") return;
    while (!line.empty()) {
      const bool is_it = next_word(line) == "orphan";
      const auto value = parse_number<uint64_t>(next_word(line));
      if (is_it) orphans = value;
    }
  });
  return orphans;
}

// Not /proc/net: that is the namespace of the process's first thread.
Result<std::vector<model::SocketFacts>> read_proc_net_inet(std::string_view file, int family,
                                                           int protocol) {
  const auto text = read_file(fmt::format("/proc/thread-self/net/{}", file));
  if (!text) return std::unexpected(text.error());
  return parse_proc_net_inet(*text, family, protocol);
}

Result<std::vector<model::SocketFacts>> read_proc_net_packet() {
  const auto text = read_file("/proc/thread-self/net/packet");
  if (!text) return std::unexpected(text.error());
  return parse_proc_net_packet(*text);
}

}  // namespace tidemark::system
