// SPDX-License-Identifier: Apache-2.0
//
// What an audit needs and says: live blocks of our books drawn at random, and what the allocators'
// own books said of them. Pure values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "model/ids.h"

namespace tidemark::model {

// A block that nobody was seen to free. Address and birth make it this one and no later one.
struct LiveBlock {
  Generation owner;
  Address address;
  uint64_t size_bytes = 0;  // as requested
  uint64_t birth_ns = 0;
  uint64_t lot = 0;      // random and the same in every snapshot of a run: the lowest are drawn
  bool aligned = false;  // the call said more than a size: its room does not follow from that
};

// The lot of a block in a run that has this seed.
[[nodiscard]] uint64_t draw_lot(uint64_t seed, Address address, uint64_t birth_ns);

// Blocks drawn at random, each with the same chance, and the same ones again in a later snapshot as
// far as they are still live. `blocks` is a heap by lot, the highest first.
struct BlockSample {
  std::size_t most = 0;
  std::vector<LiveBlock> blocks;
  void offer(const LiveBlock& block);
  void offer(const BlockSample& other);
};

// How many of the blocks that were looked up are what. The first four are the verdict.
struct AuditShares {
  uint64_t dead = 0;              // free by the allocator's own books: its free was not seen
  uint64_t changed = 0;           // the block at this address has another size: freed, or resized
  uint64_t looks_live_same = 0;   // allocated, and its first bytes are what they were
  uint64_t looks_live_other = 0;  // allocated, and its first bytes were written to meanwhile
  uint64_t looks_live_once = 0;   // allocated; looked at once, or too young for a comparison
  uint64_t unknown = 0;           // in none of the books that could be read
  // Of looks_live_same: the shortest time between the two looks.
  std::optional<uint64_t> same_for_ns;
  friend bool operator==(const AuditShares&, const AuditShares&) = default;

  [[nodiscard]] uint64_t looked_up() const {
    return dead + changed + looks_live_same + looks_live_other + looks_live_once + unknown;
  }
};

// What looking cost in this run so far.
struct AuditCost {
  uint64_t looks = 0;   // times that blocks of a process were looked up
  uint64_t blocks = 0;  // looked up, each time counted
  uint64_t bytes_read = 0;
  uint64_t cpu_ns = 0;  // ours; the targets are not stopped
};

}  // namespace tidemark::model
