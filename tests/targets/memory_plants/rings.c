// SPDX-License-Identifier: Apache-2.0
//
// Pipes, perf and io_uring rings, BPF maps. By bare system calls: the headers of the build host may
// be older than the kernel.
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "plant.h"

#define PIPE_BYTES (1 << 20)
#define MAP_TYPE_ARENA 33 /* Linux 6.9 */
#define BPF_MMAPABLE (1U << 10)

void plant_pipes(long count, struct ledger* ledger) {
  static char chunk[65536];
  for (long i = 0; i < count; ++i) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) plant_failed("pipe");
    if (fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES) < PIPE_BYTES) plant_failed("F_SETPIPE_SZ");
    if (i == 0) ledger->fd = ends[0];
    ssize_t written;
    while ((written = write(ends[1], chunk, sizeof(chunk))) > 0) {
      ledger->bytes += (uint64_t)written;
    }
    if (errno != EAGAIN) plant_failed("write");
  }
  ledger->count = count;
}

void plant_perf_ring(long mib, struct ledger* ledger) {
  struct perf_event_attr attr;
  memset(&attr, 0, sizeof(attr));
  attr.size = sizeof(attr);
  attr.type = PERF_TYPE_SOFTWARE;
  attr.config = PERF_COUNT_SW_DUMMY;
  attr.disabled = 1;
  const long fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0UL);
  if (fd < 0) plant_failed("perf_event_open");
  const size_t control = (size_t)sysconf(_SC_PAGESIZE);
  void* ring = mmap(NULL, control + mebibytes(mib), PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
  if (ring == MAP_FAILED) plant_failed("mmap of the perf ring");
  ledger->fd = (int)fd;
  ledger->bytes = control + mebibytes(mib);
}

// struct io_uring_params, of which we set nothing and read the numbers of entries.
struct ring_parameters {
  uint32_t sq_entries;
  uint32_t cq_entries;
  uint32_t rest[28];
};

void plant_io_uring(long entries, struct ledger* ledger) {
  enum { kSubmissionBytes = 64, kCompletionBytes = 16, kIndexBytes = 4 };
  struct ring_parameters parameters;
  memset(&parameters, 0, sizeof(parameters));
  const long fd = syscall(SYS_io_uring_setup, entries, &parameters);
  if (fd < 0) plant_failed("io_uring_setup");
  ledger->fd = (int)fd;
  ledger->bytes = (uint64_t)parameters.sq_entries * (kSubmissionBytes + kIndexBytes) +
                  (uint64_t)parameters.cq_entries * kCompletionBytes;
}

static int make_map(uint32_t type, uint32_t key_bytes, uint32_t value_bytes, uint32_t entries,
                    uint32_t flags) {
  union bpf_attr attr;
  memset(&attr, 0, sizeof(attr));
  attr.map_type = type;
  attr.key_size = key_bytes;
  attr.value_size = value_bytes;
  attr.max_entries = entries;
  attr.map_flags = flags;
  strcpy(attr.map_name, "plant");
  /* Until 5.11 a map counts as locked memory. */
  const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
  (void)setrlimit(RLIMIT_MEMLOCK, &none);
  const long fd = syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
  if (fd < 0) plant_failed("BPF_MAP_CREATE");
  return (int)fd;
}

void plant_bpf_ringbuf(long mib, struct ledger* ledger) {
  ledger->bytes = mebibytes(mib);
  ledger->fd = make_map(BPF_MAP_TYPE_RINGBUF, 0, 0, (uint32_t)ledger->bytes, 0);
}

void plant_bpf_array(long mib, struct ledger* ledger) {
  enum { kValueBytes = 4096 };
  ledger->bytes = mebibytes(mib);
  ledger->fd =
      make_map(BPF_MAP_TYPE_ARRAY, 4, kValueBytes, (uint32_t)(ledger->bytes / kValueBytes), 0);
}

// Every second page of twice the range is touched, so that the free ranges are many.
void plant_bpf_arena(long mib, struct ledger* ledger) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t range = (size_t)mebibytes(mib) * 2;
  const int fd = make_map(MAP_TYPE_ARENA, 0, 0, (uint32_t)(range / page), BPF_MMAPABLE);
  char* memory = mmap(NULL, range, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) plant_failed("mmap of the arena");
  for (size_t at = 0; at < range; at += 2 * page) memory[at] = 1;
  ledger->fd = fd;
  ledger->bytes = mebibytes(mib);
}
