// SPDX-License-Identifier: Apache-2.0
//
// A walk over the chunks of glibc's heaps, from the beginning of each: what is no chunk's beginning
// is no block. For blocks that lie inside of another one, whose old header nobody has overwritten.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "audit/books.h"
#include "audit/glibc_arenas.h"

namespace tidemark::audit::glibc {

// A range of chunks, and what stands at its end.
struct Heap {
  uint64_t first = 0;             // chunk
  std::optional<uint64_t> top{};  // the arena's top chunk, where it lies in this heap
  uint64_t end = 0;               // of the memory
  friend auto operator<=>(const Heap&, const Heap&) = default;
};

// Where the blocks of an arena can lie.
class Heaps {
 public:
  explicit Heaps(std::vector<Arena> arenas) : arenas_(std::move(arenas)) {}
  // The heap that a chunk lies in; none where that is none of glibc's.
  [[nodiscard]] Result<std::optional<Heap>> heap_of(MemoryReader& memory, uint64_t chunk);
  [[nodiscard]] std::span<const Arena> arenas() const { return arenas_; }

 private:
  [[nodiscard]] Result<std::optional<Heap>> read_heap(MemoryReader& memory, uint64_t base) const;
  [[nodiscard]] Result<std::optional<Heap>> read_main_heap(MemoryReader& memory) const;

  std::vector<Arena> arenas_;
  std::optional<std::optional<Heap>> main_;                  // once it was looked for
  std::unordered_map<uint64_t, std::optional<Heap>> heaps_;  // by address of their heap_info
};

// Of these chunks of the heap, those that the walk passed over: none begins there. None at all if
// the walk did not end where it had to, because the heap changed under it.
[[nodiscard]] Result<std::set<uint64_t>> find_passed_over(MemoryReader& memory, const Heap& heap,
                                                          const std::set<uint64_t>& chunks);

}  // namespace tidemark::audit::glibc
