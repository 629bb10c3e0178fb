// SPDX-License-Identifier: Apache-2.0
//
// glibc's arenas, found in the memory of a process without any symbol. x86-64; the layout is that
// of malloc/malloc.c and malloc/arena.c as of 2.36, and stands here alone.
//
//   main_arena ── next ──> arena ── next ──> ... ──> main_arena
//       │ top, fast bins, bins               │
//   [brk heap]                     heap of 64 MiB, heap_info at its beginning
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "audit/books.h"

namespace tidemark::audit::glibc {

// A chunk: { prev_size, size | flags, user data ... }; its block begins behind the two words.
inline constexpr uint64_t kChunkHeader = 16;
inline constexpr uint64_t kLeastChunk = 32;
inline constexpr uint64_t kPrevInUse = 1;
inline constexpr uint64_t kIsMapped = 2;
inline constexpr uint64_t kFlags = 7;
inline constexpr uint64_t kPage = 4096;
inline constexpr uint64_t kHeapSpan = 64 << 20;  // and alignment, of heaps that are not brk's
inline constexpr uint64_t kHeapInfoBytes = 48;

// struct malloc_state
inline constexpr std::size_t kArenaBytes = 2200;
inline constexpr std::size_t kFastBins = 10;
inline constexpr std::size_t kBins = 127;
inline constexpr std::size_t kFlagsOffset = 4;
inline constexpr std::size_t kFastBinsOffset = 16;
inline constexpr std::size_t kTopOffset = 96;
inline constexpr std::size_t kBinsOffset = 112;
inline constexpr std::size_t kNextOffset = 2160;
inline constexpr std::size_t kSystemMemOffset = 2184;
inline constexpr std::size_t kMaxSystemMemOffset = 2192;

struct Arena {
  uint64_t address = 0;
  uint64_t top = 0;  // the chunk
  uint64_t system_mem = 0;
  uint64_t next = 0;
  bool contiguous = true;             // its memory, where it is the main one, is one range
  std::vector<uint64_t> fast_bins;    // first chunks of those that are not empty
  std::vector<uint64_t> free_chunks;  // first chunk of each bin that is not empty
};

// Is this an arena, whole and of one moment as far as that can be told?
[[nodiscard]] std::optional<Arena> parse_arena(std::span<const std::byte> bytes, uint64_t address);

// "2.36" out of the banner that libc carries; empty where there is none.
[[nodiscard]] Result<std::string> read_version(const Target& target);

// Where main_arena lies; none where nothing looks like it (malloc was not called yet).
[[nodiscard]] Result<std::optional<uint64_t>> find_main_arena(const Target& target);

// All arenas, the main one first. An error where the chain of them does not close.
[[nodiscard]] Result<std::vector<Arena>> read_arenas(MemoryReader& memory, uint64_t main_arena);

}  // namespace tidemark::audit::glibc
