// SPDX-License-Identifier: Apache-2.0
#include "model/owner_table.h"

#include <algorithm>
#include <cmath>

namespace tidemark::model {
namespace {

uint64_t part(uint64_t bytes, double share) {
  return static_cast<uint64_t>(std::llround(static_cast<double>(bytes) * share));
}

std::optional<double> paged_share(const QueueSample& sample) {
  if (sample.bytes == 0) return std::nullopt;
  return static_cast<double>(sample.paged_bytes) / static_cast<double>(sample.bytes);
}

ObjectKey socket_key(Inode inode) {
  return {.kind = ObjectKind::kSocket, .number = inode.value};
}

// What closed senders left in the queue of a unix socket that is still open.
uint64_t bytes_of_closed_senders(const QueueSample& sample) {
  if (sample.packets == 0) return 0;
  const double of_all = static_cast<double>(sample.queued) / static_cast<double>(sample.packets);
  return part(sample.orphan_bytes, std::max(of_all, 1.0));
}

}  // namespace

void OwnerTable::add_socket(SocketFacts facts) {
  const Socket& socket = facts.socket;
  const bool known = socket.inode.value != 0 && sockets_.contains(socket.inode);
  if (known) return;
  if (socket.family == "unix" && facts.sample) {
    unix_samples_.bytes += facts.sample->bytes;
    unix_samples_.paged_bytes += facts.sample->paged_bytes;
  }
  if (socket.inode.value == 0) {
    orphans_.push_back(std::move(facts));
  } else {
    const Inode inode = socket.inode;
    sockets_.emplace(inode, std::move(facts));
  }
}

void OwnerTable::add_holder(const ObjectKey& key, GhostHolder holder) {
  holders_.emplace(key, std::move(holder));
}

void OwnerTable::add_file(HeldFile file) {
  const ObjectKey key{.kind = ObjectKind::kFile, .number = file.inode.value, .device = file.device};
  files_.emplace(key, std::move(file));
}

void OwnerTable::open(const ObjectKey& key, const Opening& opening) {
  auto& openings = openings_[key];
  const std::pair place{opening.pid.value, opening.fd.value_or(INT32_MAX)};
  if (!openings.seen.insert(place).second) return;
  if (*openings.seen.begin() == place) {
    openings.first.pid = opening.pid;
    openings.first.comm = opening.comm;
    openings.first.fd = opening.fd;
  }
  openings.first.descriptors = static_cast<uint32_t>(openings.seen.size());
}

std::optional<Holder> OwnerTable::holder_of(const ObjectKey& key) const {
  const auto found = openings_.find(key);
  if (found == openings_.end()) return std::nullopt;
  return found->second.first;
}

std::optional<double> OwnerTable::paged_share_of(const SocketFacts& receiver) const {
  return receiver.sample ? paged_share(*receiver.sample) : std::nullopt;
}

// A unix socket is charged for what it sent, and this lies in the queue of its peer.
void OwnerTable::settle_unix(const SocketFacts& facts, Socket& socket) const {
  socket.recv_queue_bytes = facts.sample ? bytes_of_closed_senders(*facts.sample) : 0;
  std::optional<double> sent_share;
  if (socket.peer) {
    socket.peer_holder = holder_of(socket_key(*socket.peer));
    const auto receiver = sockets_.find(*socket.peer);
    if (receiver != sockets_.end()) sent_share = paged_share_of(receiver->second);
  }
  if (!sent_share) {
    sent_share = paged_share(unix_samples_);
    socket.ghost_estimated = socket.send_queue_bytes > 0;
  }
  socket.ghost_bytes = part(socket.send_queue_bytes, sent_share.value_or(1)) +
                       part(socket.recv_queue_bytes, paged_share_of(facts).value_or(1));
}

Socket OwnerTable::settled(const SocketFacts& facts) const {
  Socket socket = facts.socket;
  if (socket.inode.value != 0) socket.holder = holder_of(socket_key(socket.inode));
  if (socket.family == "unix") {
    settle_unix(facts, socket);
    return socket;
  }
  // What is sent sits in page fragments but for its headers; nobody looked, so it is an assumption.
  const auto received_share = paged_share_of(facts);
  socket.ghost_estimated =
      socket.send_queue_bytes > 0 || (socket.recv_queue_bytes > 0 && !received_share);
  socket.ghost_bytes =
      socket.send_queue_bytes + part(socket.recv_queue_bytes, received_share.value_or(1));
  if (facts.ring_memory == RingMemory::kPages) socket.ghost_bytes += socket.ring_bytes;
  return socket;
}

void OwnerTable::write_to(MemoryOwners& owners) const {
  const auto take = [&](const SocketFacts& facts) {
    Socket socket = settled(facts);
    if (socket.bytes() > 0) owners.sockets.push_back(std::move(socket));
  };
  for (const auto& [inode, facts] : sockets_) take(facts);
  for (const SocketFacts& facts : orphans_) take(facts);
  for (const auto& [key, holder] : holders_) {
    if (holder.bytes == 0) continue;
    owners.holders.push_back(holder);
    owners.holders.back().holder = holder_of(key);
  }
  for (const auto& [key, file] : files_) {
    if (file.bytes == 0 && file.resident_bytes.value_or(0) == 0) continue;
    auto& list = file.name.starts_with("memfd:") ? owners.memfds : owners.deleted_files;
    list.push_back(file);
    if (const auto holder = holder_of(key)) list.back().holder = *holder;
  }
  for (BpfMap& map : owners.bpf_maps) {
    map.holder = holder_of({.kind = ObjectKind::kBpfMap, .number = map.id});
  }
  const auto widest = std::ranges::greater{};
  std::ranges::stable_sort(owners.sockets, widest, &Socket::bytes);
  std::ranges::stable_sort(owners.holders, widest, [](const GhostHolder& h) { return h.bytes; });
  std::ranges::stable_sort(owners.memfds, widest, &HeldFile::bytes);
  std::ranges::stable_sort(owners.deleted_files, widest, &HeldFile::bytes);
}

}  // namespace tidemark::model
