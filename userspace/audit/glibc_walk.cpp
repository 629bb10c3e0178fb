// SPDX-License-Identifier: Apache-2.0
#include "audit/glibc_walk.h"

#include <algorithm>
#include <array>

namespace tidemark::audit::glibc {
namespace {

constexpr std::size_t kWindow = 256 << 10;

struct HeapInfo {
  uint64_t arena;
  uint64_t previous;
  uint64_t size;
};

uint64_t round_up_16(uint64_t address) {
  return (address + 15) & ~uint64_t{15};
}

// The part of a heap that is at hand.
class Window {
 public:
  explicit Window(MemoryReader& memory) : memory_(memory), bytes_(kWindow) {}

  // The size word of a chunk; none where it is not mapped.
  Result<std::optional<uint64_t>> size_word(uint64_t chunk) {
    const uint64_t place = chunk + 8;
    if (place < start_ || place + 8 > start_ + size_) {
      if (auto filled = fill(place); !filled) return std::unexpected(filled.error());
    }
    if (size_ < 8) return std::nullopt;
    return value_at<uint64_t>(bytes_, place - start_);
  }

 private:
  Status fill(uint64_t place) {
    start_ = place;
    size_ = 0;
    std::vector<Read> reads;
    for (std::size_t at = 0; at < bytes_.size();) {
      const std::size_t size = std::min(kPage - (place + at) % kPage, bytes_.size() - at);
      reads.push_back({place + at, std::span(bytes_).subspan(at, size)});
      at += size;
    }
    if (auto done = memory_.read(reads); !done) return done;
    for (const Read& read : reads) {
      if (!read.done) break;
      size_ += read.into.size();
    }
    return {};
  }

  MemoryReader& memory_;
  std::vector<std::byte> bytes_;
  uint64_t start_ = 0;
  std::size_t size_ = 0;
};

}  // namespace

Result<std::optional<Heap>> Heaps::read_heap(MemoryReader& memory, uint64_t base) const {
  const auto info = read_value<HeapInfo>(memory, base);
  if (!info) return std::unexpected(info.error());
  if (!*info || (*info)->size > kHeapSpan || (*info)->size < kPage) return std::nullopt;
  const auto arena = std::ranges::find(arenas_, (*info)->arena, &Arena::address);
  if (arena == arenas_.end() || arena == arenas_.begin()) return std::nullopt;
  Heap heap;
  heap.end = base + (*info)->size;
  // An arena lies at the beginning of its first heap.
  const bool has_arena = arena->address == base + kHeapInfoBytes;
  const uint64_t behind = has_arena ? arena->address + kArenaBytes : base + kHeapInfoBytes;
  heap.first = round_up_16(behind);
  if (arena->top >= base && arena->top < base + kHeapSpan) heap.top = arena->top;
  return heap;
}

// By the address alone: the flag that says which kind it is leaves a chunk when it is freed.
Result<std::optional<Heap>> Heaps::heap_of(MemoryReader& memory, uint64_t chunk) {
  if (!main_) {
    const auto main = read_main_heap(memory);
    if (!main) return std::unexpected(main.error());
    main_ = *main;
  }
  const auto& main = *main_;
  if (main && chunk >= main->first && chunk < main->end) return main;
  const uint64_t base = chunk & ~(kHeapSpan - 1);
  const auto known = heaps_.find(base);
  if (known != heaps_.end()) return known->second;
  const auto heap = read_heap(memory, base);
  if (heap) heaps_.emplace(base, *heap);
  return heap;
}

// It ends where its top ends, on a page; its top may move while we look at both.
Result<std::optional<Heap>> Heaps::read_main_heap(MemoryReader& memory) const {
  constexpr int kTries = 5;
  const Arena& main = arenas_.front();
  for (int attempt = 0; attempt < kTries && main.contiguous; ++attempt) {
    const auto top = read_value<uint64_t>(memory, main.address + kTopOffset);
    if (!top) return std::unexpected(top.error());
    if (!*top) return std::nullopt;
    const auto size = read_value<uint64_t>(memory, **top + 8);
    if (!size) return std::unexpected(size.error());
    const auto mem = read_value<uint64_t>(memory, main.address + kSystemMemOffset);
    if (!mem) return std::unexpected(mem.error());
    if (!*size || !*mem) return std::nullopt;
    const uint64_t end = **top + (**size & ~kFlags);
    if (end % kPage != 0 || (**size & ~kFlags) > **mem) continue;
    return Heap{.first = end - **mem, .top = main.top, .end = end};
  }
  return std::nullopt;
}

Result<std::set<uint64_t>> find_passed_over(MemoryReader& memory, const Heap& heap,
                                            const std::set<uint64_t>& chunks) {
  std::set<uint64_t> passed_over;
  Window window(memory);
  auto next = chunks.lower_bound(heap.first);
  uint64_t at = heap.first;
  while (at < heap.end && at != heap.top) {
    while (next != chunks.end() && *next < at) passed_over.insert(*next++);
    if (next != chunks.end() && *next == at) ++next;
    const auto word = window.size_word(at);
    if (!word) return std::unexpected(word.error());
    if (!*word) return std::set<uint64_t>();
    const uint64_t size = **word & ~kFlags;
    // A heap that was left for another one ends in a chunk of 16 bytes.
    if (size == kChunkHeader && !heap.top) break;
    if (size < kLeastChunk || size % 16 != 0 || at + size > heap.end) return std::set<uint64_t>();
    at += size;
  }
  // Its top may have moved down meanwhile; then it ends with the memory.
  if (heap.top ? at != heap.top && at != heap.end : at >= heap.end) return std::set<uint64_t>();
  while (next != chunks.end() && *next < at) passed_over.insert(*next++);
  return passed_over;
}

}  // namespace tidemark::audit::glibc
