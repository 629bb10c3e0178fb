// SPDX-License-Identifier: Apache-2.0
//
// glibc's lists of free blocks that their chunks do not tell: the caches of threads (tcache) and
// the fast bins. A block that is met on one of them was free at a moment after the reading began.
//
// The links are mangled with their own place (since 2.32): link ^ (place >> 12).
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_set>
#include <vector>

#include "audit/books.h"
#include "audit/glibc_arenas.h"

namespace tidemark::audit::glibc {

// struct tcache_perthread_struct
inline constexpr std::size_t kCacheBins = 64;
inline constexpr std::size_t kCacheBytes = 0x280;
inline constexpr uint64_t kCacheChunk = 0x290;

struct FreeLists {
  std::unordered_set<uint64_t> blocks;  // as malloc gave them out
  std::size_t caches = 0;               // of threads, that were found
  // Entries of caches bear a number that is the same for all of them (since 2.34).
  std::size_t entries = 0;
  std::size_t agreeing = 0;
  std::optional<uint64_t> key;  // none where there is no entry
};

[[nodiscard]] Result<FreeLists> read_free_lists(const Target& target,
                                                std::span<const Arena> arenas);

}  // namespace tidemark::audit::glibc
