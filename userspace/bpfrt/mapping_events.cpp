// SPDX-License-Identifier: Apache-2.0
#include "bpfrt/mapping_events.h"

#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <vector>

namespace tidemark::bpfrt {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kRecordBytes = 64 * kPageBytes;  // a power of two pages

// The records behind their header: include/uapi/linux/perf_event.h, PERF_RECORD_MMAP2 and _COMM.
struct Mmap2 {
  uint32_t pid, tid;
  uint64_t address, size, file_offset;
  uint32_t device_major, device_minor;
  uint64_t inode, inode_generation;
  uint32_t protection, flags;
};
struct Comm {
  uint32_t pid, tid;
};

// The fixed part of a record, and the text behind it up to its 0.
template <typename Record>
bool take(const std::vector<std::byte>& record, Record& into, std::string_view& text) {
  if (record.size() < sizeof(into)) return false;
  std::memcpy(&into, record.data(), sizeof(into));
  const auto* start = reinterpret_cast<const char*>(record.data()) + sizeof(into);
  text = std::string_view(start, record.size() - sizeof(into));
  text = text.substr(0, text.find('\0'));
  return true;
}

}  // namespace

void MappingEvents::Unmap::operator()(std::byte* ring) const noexcept {
  ::munmap(ring, kPageBytes + kRecordBytes);
}

Result<MappingEvents> MappingEvents::open(pid_t pid) {
  perf_event_attr attr{};
  attr.size = sizeof(attr);
  attr.type = PERF_TYPE_SOFTWARE;
  attr.config = PERF_COUNT_SW_DUMMY;
  attr.mmap = 1;
  attr.mmap2 = 1;
  attr.comm = 1;
  attr.comm_exec = 1;
  attr.wakeup_events = 1;
  MappingEvents events;
  events.event_ = UniqueFd(
      static_cast<int>(::syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!events.event_.valid()) return fail_errno(errno, "cannot watch what process {} maps", pid);
  void* ring = ::mmap(nullptr, kPageBytes + kRecordBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                      events.event_.get(), 0);
  if (ring == MAP_FAILED) return fail_errno(errno, "cannot watch what process {} maps", pid);
  events.ring_.reset(static_cast<std::byte*>(ring));
  return events;
}

void MappingEvents::consume(const MappingListener& listener) {
  auto* control = reinterpret_cast<perf_event_mmap_page*>(ring_.get());
  const std::byte* records = ring_.get() + kPageBytes;
  const uint64_t head = std::atomic_ref(control->data_head).load(std::memory_order_acquire);
  uint64_t at = control->data_tail;
  const auto copy = [&](void* to, uint64_t from, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
      static_cast<std::byte*>(to)[i] = records[(from + i) % kRecordBytes];
    }
  };
  while (at < head) {
    perf_event_header header;
    copy(&header, at, sizeof(header));
    if (header.size < sizeof(header) || header.size > head - at) break;
    std::vector<std::byte> record(header.size - sizeof(header));
    copy(record.data(), at + sizeof(header), record.size());
    at += header.size;
    std::string_view text;
    if (Mmap2 mapped; header.type == PERF_RECORD_MMAP2 && take(record, mapped, text)) {
      listener.mapped({mapped.address, mapped.size, mapped.file_offset, mapped.device_major,
                       mapped.device_minor, mapped.inode, text});
    } else if (Comm comm; header.type == PERF_RECORD_COMM && take(record, comm, text)) {
      if ((header.misc & PERF_RECORD_MISC_COMM_EXEC) != 0) listener.exec(text);
    }
  }
  std::atomic_ref(control->data_tail).store(head, std::memory_order_release);
}

}  // namespace tidemark::bpfrt
