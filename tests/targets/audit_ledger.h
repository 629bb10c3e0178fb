// SPDX-License-Identifier: Apache-2.0
//
// The ledger of audit_heap.c, in a file that the test maps, too: what is allocated, and what was
// freed in which way. A slot belongs to one thread and holds one block at a time.
//
//   version   even: the block is live, and the entry says which; odd: it is being freed or was
#pragma once

#include <stdint.h>

#define AUDIT_SLOTS 8192

enum audit_state {
  AUDIT_LIVE = 0,
  AUDIT_CACHED,    // a few of one small size
  AUDIT_FAST,      // more of them
  AUDIT_IN_BIN,    // too large for those, neighbours in use
  AUDIT_MERGED,    // with a free neighbour
  AUDIT_TOP,       // the last of the heap
  AUDIT_UNMAPPED,  // a mapping of its own
  AUDIT_STATES
};

struct audit_slot {
  uint64_t address;
  uint64_t size;
  uint32_t state;  // enum audit_state
  uint32_t version;
};

#define AUDIT_THREADS 4

struct audit_ledger {
  uint32_t hold;                 // 1: the threads are to stand still
  uint32_t held[AUDIT_THREADS];  // 1: this one does
  struct audit_slot slots[AUDIT_SLOTS];
};
