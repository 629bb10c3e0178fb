// SPDX-License-Identifier: Apache-2.0
//
// How a thread's cache is found: the thread's control block begins with its own address, at its end
// the static thread-local data lie, and in them a pointer to the cache, which is a chunk of one
// size whose content is unlike any other.
#include "audit/glibc_lists.h"

#include <algorithm>
#include <array>
#include <map>

namespace tidemark::audit::glibc {
namespace {

constexpr uint64_t kSmallMapping = 256 << 10;  // looked through as a whole
constexpr uint64_t kTopOfStack = 32 << 10;     // of larger ones
constexpr std::size_t kMostMappings = 4096;
constexpr uint64_t kThreadData = 4096;     // below the control block
constexpr std::size_t kTidOffset = 0x2d0;  // struct pthread
constexpr int32_t kMostTid = 1 << 22;
constexpr std::size_t kMostSteps = 1 << 16;  // along fast bins
constexpr uint64_t kMostFastChunk = 176;
constexpr std::size_t kMostEntries = 128;  // of a bin of a cache: 7, unless a tunable says more
constexpr std::size_t kCountsBytes = kCacheBins * 2;

uint64_t unmangle(uint64_t link, uint64_t place) {
  return link ^ (place >> 12);
}

struct Words {
  uint64_t start = 0;
  std::vector<uint64_t> words;
};

// The memory that may hold control blocks: that of no file, its upper end where it is large.
Result<std::vector<Words>> read_thread_memory(const Target& target) {
  std::vector<Words> parts;
  for (const model::Mapping& mapping : target.image.mappings) {
    const bool may_hold = mapping.path.empty() || mapping.path.starts_with("[anon") ||
                          mapping.path == "[heap]" || mapping.path.starts_with("[stack:");
    if (!mapping.writable || mapping.file.inode != 0 || !may_hold) continue;
    if (parts.size() == kMostMappings) break;
    const uint64_t size = mapping.end.value - mapping.start.value;
    const uint64_t looked_at = size <= kSmallMapping ? size : kTopOfStack;
    // A static program keeps its main thread's data at the beginning of the heap.
    const uint64_t start =
        mapping.path == "[heap]" ? mapping.start.value : mapping.end.value - looked_at;
    parts.push_back({start, std::vector<uint64_t>(looked_at / 8)});
  }
  std::vector<Read> reads;
  for (Words& part : parts) {
    const auto bytes = std::as_writable_bytes(std::span(part.words));
    for (uint64_t at = 0; at < bytes.size(); at += kPage) {
      reads.push_back({.address = part.start + at,
                       .into = bytes.subspan(at, std::min(kPage, bytes.size() - at)),
                       .anonymous = kAnonymous});
    }
  }
  if (auto done = target.memory.read(reads); !done) return std::unexpected(done.error());
  return parts;
}

bool is_control_block(const Words& part, std::size_t at) {
  const uint64_t address = part.start + at * 8;
  if (part.words[at] != address || at + kTidOffset / 8 >= part.words.size()) return false;
  const auto tid = static_cast<int32_t>(part.words[at + kTidOffset / 8]);
  return part.words[at + 2] == address && tid > 0 && tid <= kMostTid;
}

// What may be pointers to caches, each with the word in front of it: the size of its chunk.
Result<std::vector<uint64_t>> find_candidates(const Target& target) {
  const auto parts = read_thread_memory(target);
  if (!parts) return std::unexpected(parts.error());
  std::vector<uint64_t> pointers;
  for (const Words& part : *parts) {
    for (std::size_t at = 0; at < part.words.size(); ++at) {
      if (!is_control_block(part, at)) continue;
      for (std::size_t below = at - std::min(at, kThreadData / 8); below < at; ++below) {
        const uint64_t word = part.words[below];
        if (word % 16 == 0 && word > kPage && word < uint64_t{1} << 47) pointers.push_back(word);
      }
    }
  }
  std::ranges::sort(pointers);
  pointers.erase(std::unique(pointers.begin(), pointers.end()), pointers.end());
  std::vector<uint64_t> headers = pointers;
  for (uint64_t& header : headers) header -= 8;
  const auto sizes = read_values<uint64_t>(target.memory, headers, kAnonymous);
  if (!sizes) return std::unexpected(sizes.error());
  std::vector<uint64_t> candidates;
  for (std::size_t i = 0; i < pointers.size(); ++i) {
    const auto& size = (*sizes)[i];
    if (size && (*size & ~kFlags) == kCacheChunk) candidates.push_back(pointers[i]);
  }
  return candidates;
}

struct Cache {
  std::array<uint16_t, kCacheBins> counts;
  std::array<uint64_t, kCacheBins> entries;
};
static_assert(sizeof(Cache) == kCacheBytes && offsetof(Cache, entries) == kCountsBytes);

// Read while its thread uses it, a bin may be caught between its count and its entry.
bool looks_like_cache(const Cache& cache) {
  std::size_t odd = 0;
  for (std::size_t bin = 0; bin < kCacheBins; ++bin) {
    if (cache.entries[bin] % 16 != 0 || cache.entries[bin] >= uint64_t{1} << 47) return false;
    if ((cache.counts[bin] == 0) != (cache.entries[bin] == 0)) ++odd;
  }
  return odd <= 2;
}

struct CacheEntry {
  uint64_t next;
  uint64_t key;
};

using Keys = std::map<uint64_t, uint64_t>;  // of each entry, by its block

bool is_block_address(uint64_t address) {
  return address != 0 && address % 16 == 0 && address < uint64_t{1} << 47;
}

// All lists of caches in step: each call reads the next entry of every one.
Result<Keys> walk_caches(MemoryReader& memory, std::span<const Cache> caches) {
  Keys keys;
  std::vector<uint64_t> at;
  for (const Cache& cache : caches) {
    std::ranges::copy_if(cache.entries, std::back_inserter(at), is_block_address);
  }
  for (std::size_t step = 0; step < kMostEntries && !at.empty(); ++step) {
    const auto entries = read_values<CacheEntry>(memory, at);
    if (!entries) return std::unexpected(entries.error());
    std::vector<uint64_t> next;
    for (std::size_t i = 0; i < at.size(); ++i) {
      const auto& entry = (*entries)[i];
      if (!entry || !keys.emplace(at[i], entry->key).second) continue;
      const uint64_t following = unmangle(entry->next, at[i]);
      if (is_block_address(following)) next.push_back(following);
    }
    at = std::move(next);
  }
  return keys;
}

// The majority's key is the key. A link that is read late may be what a new owner wrote, and leads
// to anything: what does not bear the key is not taken for free.
void take_keyed(const Keys& keys, FreeLists& lists) {
  std::map<uint64_t, std::size_t> counts;
  for (const auto& [block, key] : keys) ++counts[key];
  lists.entries = keys.size();
  const auto most =
      std::ranges::max_element(counts, {}, [](const auto& row) { return row.second; });
  if (most == counts.end()) return;
  lists.key = most->first;
  lists.agreeing = most->second;
  for (const auto& [block, key] : keys) {
    if (key == lists.key) lists.blocks.insert(block);
  }
}

struct FastChunk {
  uint64_t size;
  uint64_t link;
};

bool is_fast(uint64_t size) {
  return (size & ~kFlags) >= kLeastChunk && (size & ~kFlags) <= kMostFastChunk &&
         (size & kIsMapped) == 0;
}

// The links of a fast bin lead from chunk to chunk.
Status walk_fast_bins(MemoryReader& memory, std::span<const Arena> arenas, FreeLists& lists) {
  std::vector<uint64_t> at;  // where the chunks' sizes are
  for (const Arena& arena : arenas) {
    for (const uint64_t chunk : arena.fast_bins) at.push_back(chunk + 8);
  }
  std::size_t steps = 0;
  while (!at.empty() && (steps += at.size()) <= kMostSteps) {
    const auto chunks = read_values<FastChunk>(memory, at);
    if (!chunks) return std::unexpected(chunks.error());
    std::vector<uint64_t> next;
    for (std::size_t i = 0; i < at.size(); ++i) {
      const uint64_t block = at[i] + 8;
      const auto& chunk = (*chunks)[i];
      if (!chunk || !is_fast(chunk->size) || !lists.blocks.insert(block).second) continue;
      const uint64_t following = unmangle(chunk->link, block);
      if (is_block_address(following)) next.push_back(following + 8);
    }
    at = std::move(next);
  }
  return {};
}

}  // namespace

Result<FreeLists> read_free_lists(const Target& target, std::span<const Arena> arenas) {
  FreeLists lists;
  const auto candidates = find_candidates(target);
  if (!candidates) return std::unexpected(candidates.error());
  const auto read = read_values<Cache>(target.memory, *candidates);
  if (!read) return std::unexpected(read.error());
  std::vector<Cache> caches;
  for (const auto& cache : *read) {
    if (cache && looks_like_cache(*cache)) caches.push_back(*cache);
  }
  lists.caches = caches.size();
  const auto keys = walk_caches(target.memory, caches);
  if (!keys) return std::unexpected(keys.error());
  take_keyed(*keys, lists);
  if (auto walked = walk_fast_bins(target.memory, arenas, lists); !walked)
    return std::unexpected(walked.error());
  return lists;
}

}  // namespace tidemark::audit::glibc
