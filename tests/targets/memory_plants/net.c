// SPDX-License-Identifier: Apache-2.0
//
// Sockets: a packet ring, queues that nobody reads, unix queues. Each in a network namespace of its
// own, so that no packet of the machine gets in.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "plant.h"

#define PACKET_BYTES 1400
#define PAIR_BYTES (2 << 20)

void enter_own_network(void) {
  if (unshare(CLONE_NEWNET) != 0) plant_failed("unshare");
  struct ifreq request;
  memset(&request, 0, sizeof(request));
  strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0) plant_failed("lo");
  close(fd);
}

static void set_option(int fd, int option, int value) {
  if (setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)) != 0) plant_failed("setsockopt");
}

// What the kernel charges for the packets in the receive queue.
static uint64_t receive_memory(int fd) {
  uint32_t values[SK_MEMINFO_VARS];
  socklen_t length = sizeof(values);
  if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values, &length) != 0) plant_failed("SO_MEMINFO");
  return values[SK_MEMINFO_RMEM_ALLOC];
}

void plant_packet_ring(long mib, struct ledger* ledger) {
  enter_own_network();
  const int fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0) plant_failed("AF_PACKET");
  struct tpacket_req ring;
  ring.tp_block_size = 1 << 16;
  ring.tp_block_nr = (unsigned)(mebibytes(mib) / ring.tp_block_size);
  ring.tp_frame_size = 2048;
  ring.tp_frame_nr = ring.tp_block_nr * (ring.tp_block_size / ring.tp_frame_size);
  if (setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof(ring)) != 0) {
    plant_failed("PACKET_RX_RING");
  }
  ledger->fd = fd;
  ledger->bytes = (uint64_t)ring.tp_block_size * ring.tp_block_nr;
}

// Datagrams over lo to a port where nobody listens; all that matters is that they pass.
static void send_over_loopback(long packets) {
  static char payload[PACKET_BYTES];
  struct sockaddr_in to;
  memset(&to, 0, sizeof(to));
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(9);
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) plant_failed("socket");
  for (long i = 0; i < packets; ++i) {
    // ECONNREFUSED: the answer to the one before.
    const ssize_t sent = sendto(fd, payload, sizeof(payload), 0, (struct sockaddr*)&to, sizeof(to));
    if (sent < 0 && errno != ECONNREFUSED) plant_failed("sendto");
  }
  close(fd);
}

void plant_packet_queue(long packets, struct ledger* ledger) {
  enter_own_network();
  const int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  if (fd < 0) plant_failed("AF_PACKET");
  struct sockaddr_ll where;
  memset(&where, 0, sizeof(where));
  where.sll_family = AF_PACKET;
  where.sll_protocol = htons(ETH_P_ALL);
  where.sll_ifindex = (int)if_nametoindex("lo");
  if (bind(fd, (struct sockaddr*)&where, sizeof(where)) != 0) plant_failed("bind");
  set_option(fd, SO_RCVBUFFORCE, 1 << 29);
  send_over_loopback(packets);
  ledger->fd = fd;
  ledger->count = packets;
  ledger->bytes = receive_memory(fd);
}

void plant_raw_icmpv6(long packets, struct ledger* ledger) {
  enter_own_network();
  const int fd = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
  if (fd < 0) plant_failed("raw ICMPv6");
  set_option(fd, SO_RCVBUFFORCE, 1 << 29);
  const int sender = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
  if (sender < 0) plant_failed("raw ICMPv6");
  set_option(sender, SO_RCVBUF, 0);
  static char message[PACKET_BYTES];
  message[0] = (char)200;  // for private experiments: nothing answers it
  struct sockaddr_in6 to;
  memset(&to, 0, sizeof(to));
  to.sin6_family = AF_INET6;
  to.sin6_addr = in6addr_loopback;
  for (long i = 0; i < packets; ++i) {
    if (sendto(sender, message, sizeof(message), 0, (struct sockaddr*)&to, sizeof(to)) < 0) {
      plant_failed("sendto");
    }
  }
  close(sender);
  ledger->fd = fd;
  ledger->count = packets;
  ledger->bytes = receive_memory(fd);
}

// Fills the socket up to so many bytes; what it took is in units of the kernel's own buffers.
static uint64_t fill(int fd, uint64_t bytes) {
  static char chunk[32768];
  uint64_t written = 0;
  while (written < bytes) {
    const ssize_t got = send(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) break;
    if (got < 0) plant_failed("send");
    written += (uint64_t)got;
  }
  return written;
}

static void unix_pairs(long mib, struct ledger* ledger, int close_sender) {
  const long pairs = (long)(mebibytes(mib) / PAIR_BYTES);
  for (long i = 0; i < pairs; ++i) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) plant_failed("socketpair");
    set_option(ends[0], SO_SNDBUFFORCE, PAIR_BYTES * 2);
    ledger->bytes += fill(ends[0], PAIR_BYTES);
    if (i == 0) ledger->fd = close_sender ? ends[1] : ends[0];
    if (close_sender) close(ends[0]);
  }
  ledger->count = pairs;
}

void plant_unix(long mib, struct ledger* ledger) {
  unix_pairs(mib, ledger, 0);
}

void plant_unix_closed_sender(long mib, struct ledger* ledger) {
  unix_pairs(mib, ledger, 1);
}

// A closed connection whose other end does not read: the kernel keeps what it has still to send.
void plant_tcp_orphan(long mib, struct ledger* ledger) {
  enter_own_network();
  struct sockaddr_in where;
  memset(&where, 0, sizeof(where));
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  where.sin_port = htons(4711);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  set_option(listener, SO_RCVBUF, 4096);
  if (bind(listener, (struct sockaddr*)&where, sizeof(where)) != 0) plant_failed("bind");
  if (listen(listener, 1) != 0) plant_failed("listen");
  const int sender = socket(AF_INET, SOCK_STREAM, 0);
  set_option(sender, SO_SNDBUFFORCE, (int)mebibytes(mib) * 2);
  if (connect(sender, (struct sockaddr*)&where, sizeof(where)) != 0) plant_failed("connect");
  ledger->bytes = fill(sender, mebibytes(mib));
  ledger->fd = accept(listener, NULL, NULL);
  if (ledger->fd < 0) plant_failed("accept");
  close(sender);
}
