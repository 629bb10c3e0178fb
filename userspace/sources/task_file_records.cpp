// SPDX-License-Identifier: Apache-2.0
#include "sources/task_file_records.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <bit>
#include <string_view>

#include "support/socket_names.h"

namespace tidemark::sources {
namespace {

using model::ObjectKey;
using model::ObjectKind;

// include/uapi/linux/io_uring.h; the header of the build host may be older than the kernel.
constexpr uint32_t kSqe128 = 1U << 10;
constexpr uint32_t kCqe32 = 1U << 11;
constexpr uint32_t kNoMmap = 1U << 14;
constexpr uint32_t kNoSqArray = 1U << 16;
constexpr uint64_t kSqeBytes = 64;
constexpr uint64_t kCqeBytes = 16;

// Physical memory is mapped far from the vmalloc area, and all of it closer together than this:
// 8 TiB. A ring and its socket (in slab) that are further apart lie in different areas.
constexpr int64_t kAreasApart = int64_t{1} << 43;

template <std::size_t N>
std::string_view text_of(const char (&field)[N]) {
  const std::string_view whole(field, N);
  return whole.substr(0, whole.find('\0'));
}

uint64_t positive(int32_t counter) {
  return counter > 0 ? static_cast<uint64_t>(counter) : 0;
}

std::string local_name(const tm_socket& record) {
  switch (record.family) {
    case AF_INET:
    case AF_INET6: {
      const std::size_t length = record.family == AF_INET ? 4 : 16;
      // The "port" of a raw socket is its protocol.
      const uint16_t port = record.type == SOCK_RAW ? 0 : record.port;
      return socket_address_text({record.address, length}, port);
    }
    case AF_UNIX: {
      constexpr std::size_t kFamilyBytes = 2;
      const std::size_t length =
          record.name_length > kFamilyBytes ? record.name_length - kFamilyBytes : 0;
      return unix_name_text({record.name, std::min(length, sizeof(record.name))});
    }
    case AF_PACKET:
      return record.interface[0] != 0 ? std::string(text_of(record.interface)) : "*";
    case AF_NETLINK:
      return std::to_string(record.portid);
    default:
      return {};
  }
}

model::SocketFacts to_socket(const tm_open_file& file, uint64_t page_bytes) {
  const tm_socket& record = file.socket;
  model::SocketFacts facts;
  model::Socket& socket = facts.socket;
  socket.family = socket_family_name(record.family);
  socket.type = socket_type_name(record.type);
  socket.protocol = socket_protocol_name(record.family, record.protocol);
  socket.local = local_name(record);
  socket.inode = model::Inode{file.inode};
  socket.netns = model::Inode{record.netns};
  socket.recv_queue_bytes = positive(record.rmem_alloc) + positive(record.backlog);
  socket.send_queue_bytes = std::max(positive(record.wmem_alloc), positive(record.wmem_queued));
  socket.forward_alloc_bytes = positive(record.forward_alloc);
  socket.ring_bytes = record.ring_pages * page_bytes;
  socket.drops = record.drops;
  if (record.family == AF_UNIX && record.peer_inode != 0) {
    socket.peer = model::Inode{record.peer_inode};
  }
  facts.sample = model::QueueSample{.queued = record.queue_length,
                                    .packets = record.sampled,
                                    .bytes = record.sampled_bytes,
                                    .paged_bytes = record.sampled_paged_bytes,
                                    .orphan_bytes = record.sampled_orphan_bytes};
  const bool apart = record.ring_distance > kAreasApart || record.ring_distance < -kAreasApart;
  facts.ring_memory = apart ? model::RingMemory::kVmalloc : model::RingMemory::kPages;
  return facts;
}

model::GhostHolder to_pipe(const tm_open_file& file, uint64_t page_bytes) {
  const tm_pipe& pipe = file.pipe;
  const uint64_t beyond = pipe.slots > pipe.sampled ? pipe.slots - pipe.sampled : 0;
  const uint64_t pages = pipe.own_pages + beyond + pipe.spare_pages;
  model::GhostHolder holder;
  holder.maker = model::GhostMaker::kPipe;
  holder.bytes = pages * page_bytes;
  holder.ghost_bytes = pages * page_bytes;
  holder.detail = fmt::format("pipe {}: {} pages of unread data", file.inode, pages);
  return holder;
}

model::GhostHolder to_perf_ring(const tm_perf& perf, uint64_t page_bytes) {
  model::GhostHolder holder;
  holder.maker = model::GhostMaker::kPerfRing;
  holder.bytes = (perf.pages + perf.aux_pages) * page_bytes;
  holder.ghost_bytes = *holder.bytes;
  holder.detail = fmt::format("perf ring of {} pages", perf.pages);
  if (perf.aux_pages > 0) holder.detail += fmt::format(" and {} of trace", perf.aux_pages);
  return holder;
}

model::GhostHolder to_io_uring(const tm_io_uring& ring, uint64_t page_bytes) {
  model::GhostHolder holder;
  holder.maker = model::GhostMaker::kIoUring;
  holder.bytes = io_uring_bytes(ring, page_bytes);
  holder.ghost_bytes = *holder.bytes;
  holder.detail = fmt::format("io_uring of {} submissions and {} completions", ring.sq_entries,
                              ring.cq_entries);
  return holder;
}

model::HeldFile to_held_file(const tm_open_file& file, uint64_t page_bytes) {
  const tm_nameless& record = file.nameless;
  model::HeldFile held;
  held.name = text_of(record.name);
  if (held.name == "dev/zero") held.name = "/dev/zero";  // as /proc/PID/maps says it
  held.fs_type = text_of(record.fs_type);
  held.device = makedev(record.device >> 20, record.device & 0xfffff);
  held.inode = model::Inode{file.inode};
  held.bytes = record.allocated_bytes;
  // A huge page is one entry of the cache.
  if (record.magic != HUGETLBFS_MAGIC) held.resident_bytes = record.cached_pages * page_bytes;
  return held;
}

// A buddy allocation: a power of two of pages.
uint64_t as_one_allocation(uint64_t bytes, uint64_t page_bytes) {
  return std::bit_ceil((bytes + page_bytes - 1) / page_bytes) * page_bytes;
}

}  // namespace

uint64_t io_uring_bytes(const tm_io_uring& ring, uint64_t page_bytes) {
  if (ring.has_regions != 0) return ring.region_pages * page_bytes;
  if ((ring.flags & kNoMmap) != 0) return 0;  // the program's own memory
  const uint64_t sqe = (ring.flags & kSqe128) != 0 ? 2 * kSqeBytes : kSqeBytes;
  const uint64_t cqe = (ring.flags & kCqe32) != 0 ? 2 * kCqeBytes : kCqeBytes;
  const uint64_t index = (ring.flags & kNoSqArray) != 0 ? 0 : sizeof(uint32_t);
  const uint64_t rings = ring.rings_header_bytes + ring.cq_entries * cqe + ring.sq_entries * index;
  return as_one_allocation(ring.sq_entries * sqe, page_bytes) +
         as_one_allocation(rings, page_bytes);
}

model::Opening opening_of(const tm_open_file& record) {
  model::Opening opening{model::Pid{static_cast<int32_t>(record.pid)},
                         std::string(text_of(record.comm)), std::nullopt};
  if (record.fd != TM_NO_FD) opening.fd = static_cast<int32_t>(record.fd);
  return opening;
}

void add_record(const tm_open_file& record, uint64_t page_bytes, model::OwnerTable& table) {
  ObjectKey key{.number = record.inode};
  switch (record.kind) {
    case TM_FILE_SOCKET:
      key.kind = ObjectKind::kSocket;
      table.add_socket(to_socket(record, page_bytes));
      break;
    case TM_FILE_PIPE:
      key.kind = ObjectKind::kPipe;
      table.add_holder(key, to_pipe(record, page_bytes));
      break;
    case TM_FILE_PERF:
      key = {.kind = ObjectKind::kPerfRing, .number = record.perf.ring};
      table.add_holder(key, to_perf_ring(record.perf, page_bytes));
      break;
    case TM_FILE_IO_URING:
      key.kind = ObjectKind::kIoUring;
      table.add_holder(key, to_io_uring(record.io_uring, page_bytes));
      break;
    case TM_FILE_BPF_MAP:
      key = {.kind = ObjectKind::kBpfMap, .number = record.bpf_map.id};
      break;
    case TM_FILE_NAMELESS: {
      if (model::is_sysv_file(text_of(record.nameless.name))) return;
      auto held = to_held_file(record, page_bytes);
      key = {.kind = ObjectKind::kFile, .number = record.inode, .device = held.device};
      table.add_file(std::move(held));
      break;
    }
    default:
      return;
  }
  table.open(key, opening_of(record));
}

}  // namespace tidemark::sources
