// SPDX-License-Identifier: Apache-2.0
#include "bpfrt/mapping_events.h"

#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>

#include "bpfrt/map.h"

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

Result<MappingEvents::Ring> MappingEvents::open_ring(pid_t pid, int cpu) {
  perf_event_attr attr{};
  attr.size = sizeof(attr);
  attr.type = PERF_TYPE_SOFTWARE;
  attr.config = PERF_COUNT_SW_DUMMY;
  attr.mmap = 1;
  attr.mmap2 = 1;
  attr.comm = 1;
  attr.comm_exec = 1;
  attr.wakeup_events = 1;
  // Each record ends with its time: those of several CPUs are put in order by it.
  attr.sample_type = PERF_SAMPLE_TIME;
  attr.sample_id_all = 1;
  attr.use_clockid = 1;
  attr.clockid = CLOCK_MONOTONIC;
  Ring ring;
  ring.event = UniqueFd(
      static_cast<int>(::syscall(SYS_perf_event_open, &attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!ring.event.valid()) return fail_errno(errno, "cannot watch what is mapped");
  void* memory = ::mmap(nullptr, kPageBytes + kRecordBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                        ring.event.get(), 0);
  if (memory == MAP_FAILED) return fail_errno(errno, "cannot watch what is mapped");
  ring.memory.reset(static_cast<std::byte*>(memory));
  return ring;
}

Result<MappingEvents> MappingEvents::of_process(pid_t pid) {
  MappingEvents events;
  auto ring = open_ring(pid, -1);
  if (!ring) return std::unexpected(ring.error());
  events.rings_.push_back(std::move(*ring));
  return events;
}

Result<MappingEvents> MappingEvents::of_machine() {
  MappingEvents events;
  const auto cpus = possible_cpus();
  if (!cpus) return std::unexpected(cpus.error());
  std::optional<Error> error;
  for (std::size_t cpu = 0; cpu < *cpus; ++cpu) {
    auto ring = open_ring(-1, static_cast<int>(cpu));
    // One that is not there, or is switched off, maps nothing.
    if (ring) events.rings_.push_back(std::move(*ring));
    if (!ring) error = ring.error();
  }
  if (events.rings_.empty() && error) return std::unexpected(*error);
  return events;
}

std::vector<int> MappingEvents::event_fds() const {
  std::vector<int> fds;
  for (const Ring& ring : rings_) fds.push_back(ring.event.get());
  return fds;
}

void MappingEvents::drain(Ring& ring, std::vector<Record>& records) {
  auto* control = reinterpret_cast<perf_event_mmap_page*>(ring.memory.get());
  const std::byte* bytes = ring.memory.get() + kPageBytes;
  const uint64_t head = std::atomic_ref(control->data_head).load(std::memory_order_acquire);
  uint64_t at = control->data_tail;
  const auto copy = [&](void* to, uint64_t from, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
      static_cast<std::byte*>(to)[i] = bytes[(from + i) % kRecordBytes];
    }
  };
  while (at < head) {
    perf_event_header header;
    copy(&header, at, sizeof(header));
    if (header.size < sizeof(header) + sizeof(uint64_t) || header.size > head - at) break;
    Record record;
    record.type = header.type;
    record.misc = header.misc;
    record.body.resize(header.size - sizeof(header) - sizeof(uint64_t));
    copy(record.body.data(), at + sizeof(header), record.body.size());
    at += header.size;
    copy(&record.time_ns, at - sizeof(uint64_t), sizeof(uint64_t));
    records.push_back(std::move(record));
  }
  std::atomic_ref(control->data_tail).store(head, std::memory_order_release);
}

void MappingEvents::consume(const MappingListener& listener) {
  std::vector<Record> records;
  for (Ring& ring : rings_) drain(ring, records);
  std::ranges::stable_sort(records, {}, &Record::time_ns);
  for (const Record& record : records) {
    std::string_view text;
    if (Mmap2 mapped; record.type == PERF_RECORD_MMAP2 && take(record.body, mapped, text)) {
      listener.mapped(static_cast<pid_t>(mapped.pid),
                      {mapped.address, mapped.size, mapped.file_offset, mapped.device_major,
                       mapped.device_minor, mapped.inode, text});
    } else if (Comm comm; record.type == PERF_RECORD_COMM && take(record.body, comm, text)) {
      if ((record.misc & PERF_RECORD_MISC_COMM_EXEC) != 0)
        listener.exec(static_cast<pid_t>(comm.pid), text);
    }
  }
}

}  // namespace tidemark::bpfrt
