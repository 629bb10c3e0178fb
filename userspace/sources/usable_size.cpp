// SPDX-License-Identifier: Apache-2.0
#include "sources/usable_size.h"

#include <algorithm>
#include <bit>
#include <vector>

namespace tidemark::sources {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kLargestRequest = uint64_t{1} << 62;

constexpr uint64_t round_up(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// 8; multiples of 16 up to 128; then four classes to each doubling: 160, 192, 224, 256, 320, ...
uint64_t quarter_class(uint64_t requested) {
  if (requested <= 8) return 8;
  if (requested <= 128) return round_up(requested, 16);
  return round_up(requested, std::bit_floor(requested - 1) / 4);
}

constexpr uint64_t kTcPageBytes = 8192;
constexpr uint64_t kTcLargestClass = 256 * 1024;

// A size and the next one differ by at most an eighth.
uint64_t tc_step(uint64_t size) {
  if (size < 16) return 8;
  if (size < 128) return 16;
  return std::min(std::bit_floor(size) / 8, kTcPageBytes);
}

// The pages of a span of this class: at most an eighth of it is left over, and a quarter of what a
// thread fetches at once (64 KiB, 2 to 32 blocks) fits in.
uint64_t tc_span_pages(uint64_t size) {
  const uint64_t fetched = std::clamp<uint64_t>(65536 / size, 2, 32);
  for (uint64_t pages = 1;; ++pages) {
    const uint64_t bytes = pages * kTcPageBytes;
    if (bytes % size <= bytes / 8 && bytes / size >= fetched / 4) return pages;
  }
}

// Ascending. A size that fits as often into as many pages as the class before it replaces that.
std::vector<uint64_t> tc_classes() {
  struct Class {
    uint64_t size = 0;
    uint64_t pages = 0;
  };
  std::vector<Class> classes;
  for (uint64_t size = 8; size <= kTcLargestClass; size += tc_step(size)) {
    const Class next{size, tc_span_pages(size)};
    const bool same =
        !classes.empty() && classes.back().pages == next.pages &&
        next.pages * kTcPageBytes / next.size == next.pages * kTcPageBytes / classes.back().size;
    if (same) classes.pop_back();
    classes.push_back(next);
  }
  std::vector<uint64_t> sizes;
  for (const Class& one : classes) sizes.push_back(one.size);
  return sizes;
}

}  // namespace

std::optional<uint64_t> glibc_usable(uint64_t requested, uint64_t address) {
  constexpr uint64_t kOwnBytes = 8;
  constexpr uint64_t kSmallestChunk = 32;
  constexpr uint64_t kSmallestMapping = 128 * 1024;
  if (requested > kLargestRequest) return std::nullopt;
  const uint64_t chunk = std::max(kSmallestChunk, round_up(requested + kOwnBytes, 16));
  // A chunk in a mapping of its own begins with the page and has 16 bytes in front of the block.
  if (chunk >= kSmallestMapping && address % kPageBytes == 16)
    return round_up(chunk + kOwnBytes, kPageBytes) - 16;
  return chunk - kOwnBytes;
}

std::optional<uint64_t> jemalloc_usable(uint64_t requested, uint64_t) {
  if (requested > kLargestRequest) return std::nullopt;
  return quarter_class(requested);
}

std::optional<uint64_t> tcmalloc_usable(uint64_t requested, uint64_t) {
  static const std::vector<uint64_t> kClasses = tc_classes();
  if (requested > kLargestRequest) return std::nullopt;
  if (requested > kTcLargestClass) return round_up(requested, kTcPageBytes);
  return *std::ranges::lower_bound(kClasses, requested);
}

std::optional<uint64_t> mimalloc_usable(uint64_t requested, uint64_t) {
  constexpr uint64_t kLargestClass = 128 * 1024;
  if (requested > kLargestClass) return std::nullopt;
  return quarter_class(requested);
}

}  // namespace tidemark::sources
