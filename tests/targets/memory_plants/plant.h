// SPDX-License-Identifier: Apache-2.0
//
// What the plants share. A plant takes memory of one kind, keeps it until the process ends, and
// adds its ledger to the line of JSON: fields of its own behind "plant" and "bytes".
#pragma once

#include <stddef.h>
#include <stdint.h>

// The memory that was planted, as the plant's own system calls told it.
struct ledger {
  uint64_t bytes;
  int fd;      // the descriptor that holds it, or the first of several; -1: none
  long count;  // how many descriptors, packets, threads
  const char* name;
};

struct plant {
  const char* name;
  void (*run)(long amount, struct ledger* ledger);
  const char* amount;  // what the argument says
};

// Ends the process with one line that says what failed.
void plant_failed(const char* what);
// Bytes of so many MiB.
uint64_t mebibytes(long amount);
// An own network namespace with lo up.
void enter_own_network(void);

// net.c
void plant_packet_ring(long mib, struct ledger* ledger);
void plant_packet_queue(long packets, struct ledger* ledger);
void plant_raw_icmpv6(long packets, struct ledger* ledger);
void plant_tcp_orphan(long mib, struct ledger* ledger);
void plant_unix(long mib, struct ledger* ledger);
void plant_unix_closed_sender(long mib, struct ledger* ledger);
// rings.c
void plant_pipes(long count, struct ledger* ledger);
void plant_perf_ring(long mib, struct ledger* ledger);
void plant_io_uring(long entries, struct ledger* ledger);
void plant_bpf_ringbuf(long mib, struct ledger* ledger);
void plant_bpf_array(long mib, struct ledger* ledger);
void plant_bpf_arena(long mib, struct ledger* ledger);
// shared.c
void plant_memfd(long mib, struct ledger* ledger);
void plant_mapped_memfd(long mib, struct ledger* ledger);
void plant_shared_anonymous(long mib, struct ledger* ledger);
void plant_deleted_file(long mib, struct ledger* ledger);
void plant_tmpfs_file(long mib, struct ledger* ledger);
void plant_sysv_attached(long mib, struct ledger* ledger);
void plant_sysv(long mib, struct ledger* ledger);
void plant_stacks(long count, struct ledger* ledger);
// objects.c
void plant_eventfds(long count, struct ledger* ledger);
void plant_timerfds(long count, struct ledger* ledger);
void plant_epolls(long count, struct ledger* ledger);
void plant_messages(long count, struct ledger* ledger);
void plant_keys(long count, struct ledger* ledger);
void plant_sleepers(long count, struct ledger* ledger);
void plant_tuns(long count, struct ledger* ledger);
