// SPDX-License-Identifier: Apache-2.0
//
// How much an allocator sets aside for a block of a requested size: the size classes of each, as
// pure functions of what was asked for, where that decides. Only for calls that name nothing but a
// size: an alignment may ask for more. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>

namespace tidemark::sources {

// What malloc_usable_size() says of the block at `address`; none where the size does not tell.
using UsableSize = std::optional<uint64_t> (*)(uint64_t requested_bytes, uint64_t address);

// Chunks of 16 bytes, 8 of them the allocator's; from 128 KiB on the block may be a mapping of its
// own, which its address tells. A chunk whose rest is too small to serve anybody is handed out
// whole: a block may have 16 bytes more than this.
[[nodiscard]] std::optional<uint64_t> glibc_usable(uint64_t requested_bytes, uint64_t address);

// jemalloc 4 and 5 as Debian builds them for pages of 4 KiB: 8, multiples of 16 up to 128, then
// four classes to each doubling.
[[nodiscard]] std::optional<uint64_t> jemalloc_usable(uint64_t requested_bytes, uint64_t address);

// gperftools 2.x with pages of 8 KiB: classes up to 256 KiB, then whole pages.
[[nodiscard]] std::optional<uint64_t> tcmalloc_usable(uint64_t requested_bytes, uint64_t address);

// mimalloc 2: the classes of jemalloc, up to 128 KiB; not known for larger ones.
[[nodiscard]] std::optional<uint64_t> mimalloc_usable(uint64_t requested_bytes, uint64_t address);

}  // namespace tidemark::sources
