// SPDX-License-Identifier: Apache-2.0
//
// memory_plants KIND AMOUNT: takes kernel or shared memory of one kind and keeps it.
//
// Answer: a line of JSON after `done`: {"plant":KIND,"bytes":N,"fd":N,"count":N,"name":"..."}.
// `bytes` is what the plant asked for, or what the kernel told it by SO_MEMINFO for a socket that
// others filled; a report must find the process, the descriptor and as much memory. All of it is
// gone when the process ends (a SysV segment is removed by `quit`). Needs root.
#include "../target.h"
#include "plant.h"

static const struct plant kPlants[] = {
    {"packet_ring", plant_packet_ring, "MiB"},
    {"packet_queue", plant_packet_queue, "packets"},
    {"raw_icmpv6", plant_raw_icmpv6, "packets"},
    {"tcp_orphan", plant_tcp_orphan, "MiB"},
    {"unix", plant_unix, "MiB"},
    {"unix_closed_sender", plant_unix_closed_sender, "MiB"},
    {"pipes", plant_pipes, "pipes of 1 MiB"},
    {"perf_ring", plant_perf_ring, "MiB"},
    {"io_uring", plant_io_uring, "entries"},
    {"bpf_ringbuf", plant_bpf_ringbuf, "MiB"},
    {"bpf_array", plant_bpf_array, "MiB"},
    {"bpf_arena", plant_bpf_arena, "MiB"},
    {"memfd", plant_memfd, "MiB"},
    {"mapped_memfd", plant_mapped_memfd, "MiB"},
    {"shared_anonymous", plant_shared_anonymous, "MiB"},
    {"deleted_file", plant_deleted_file, "MiB"},
    {"tmpfs_file", plant_tmpfs_file, "MiB"},
    {"sysv_attached", plant_sysv_attached, "MiB"},
    {"sysv", plant_sysv, "MiB"},
    {"stacks", plant_stacks, "threads of 32 MiB"},
    {"eventfds", plant_eventfds, "descriptors"},
    {"timerfds", plant_timerfds, "descriptors"},
    {"epolls", plant_epolls, "descriptors"},
    {"messages", plant_messages, "SysV messages of 1000 bytes"},
    {"keys", plant_keys, "keys"},
    {"sleepers", plant_sleepers, "children that sleep"},
    {"tuns", plant_tuns, "tun devices"},
};

void plant_failed(const char* what) {
  fprintf(stderr, "memory_plants: ");
  perror(what);
  _exit(1);
}

uint64_t mebibytes(long amount) {
  return (uint64_t)amount << 20;
}

static void usage(void) {
  fprintf(stderr, "memory_plants KIND AMOUNT\n");
  for (size_t i = 0; i < sizeof(kPlants) / sizeof(kPlants[0]); ++i) {
    fprintf(stderr, "  %-20s %s\n", kPlants[i].name, kPlants[i].amount);
  }
  _exit(64);
}

int main(int argc, char** argv) {
  const struct plant* plant = NULL;
  if (argc != 3) usage();
  for (size_t i = 0; i < sizeof(kPlants) / sizeof(kPlants[0]); ++i) {
    if (strcmp(argv[1], kPlants[i].name) == 0) plant = &kPlants[i];
  }
  if (plant == NULL) usage();
  struct ledger ledger = {0, -1, 1, ""};
  target_say("ready");
  target_await("go");
  plant->run(strtol(argv[2], NULL, 10), &ledger);
  target_say("done");
  target_add("{\"plant\":\"%s\",\"bytes\":%llu,\"fd\":%d,\"count\":%ld,\"name\":\"%s\"}",
             plant->name, (unsigned long long)ledger.bytes, ledger.fd, ledger.count, ledger.name);
  target_say(target_text);
  const char* line;
  do {
    line = target_hear();
  } while (line != NULL && strcmp(line, "quit") != 0);
  exit(0);  // atexit: what does not end with the process
}
