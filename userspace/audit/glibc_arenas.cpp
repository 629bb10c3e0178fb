// SPDX-License-Identifier: Apache-2.0
#include "audit/glibc_arenas.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "audit/data_ranges.h"

namespace tidemark::audit::glibc {
namespace {

constexpr uint64_t kMostConstants = 32 << 20;
constexpr std::size_t kMostArenas = 4096;
constexpr int kTries = 5;  // for a chain that is read while it changes
constexpr std::string_view kBanner = "stable release version ";

bool is_chunk_address(uint64_t address) {
  return address != 0 && address % 16 == 0;
}

// bin_at(i) is where a chunk would have to lie so that its links are the bin's.
uint64_t bin_address(uint64_t arena, std::size_t bin) {
  return arena + kBinsOffset + bin * 16 - kChunkHeader;
}

// Reads a range; what is not mapped stays zero.
Result<std::vector<std::byte>> read_range(MemoryReader& memory, const model::AddressRange& range) {
  std::vector<std::byte> bytes(range.end - range.start);
  std::vector<Read> reads;
  for (uint64_t at = 0; at < bytes.size(); at += kPage) {
    const uint64_t size = std::min<uint64_t>(kPage, bytes.size() - at);
    reads.push_back({range.start + at, std::span(bytes).subspan(at, size)});
  }
  if (auto done = memory.read(reads); !done) return std::unexpected(done.error());
  return bytes;
}

std::string version_in(std::span<const std::byte> bytes) {
  // Text of the target's, looked at as such.
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto banner = text.find(kBanner);
  if (banner == std::string_view::npos) return "";
  const auto start = banner + kBanner.size();
  auto end = start;
  while (end < text.size() && end < start + 16 &&
         (text[end] == '.' || (text[end] >= '0' && text[end] <= '9')))
    ++end;
  std::string version(text.substr(start, end - start));
  if (version.ends_with('.')) version.pop_back();
  return version;
}

// Cheap, for every word of libc's data.
bool may_be_arena(std::span<const std::byte> bytes) {
  const auto system_mem = value_at<uint64_t>(bytes, kSystemMemOffset);
  return system_mem != 0 && system_mem % kPage == 0 &&
         system_mem <= value_at<uint64_t>(bytes, kMaxSystemMemOffset) &&
         is_chunk_address(value_at<uint64_t>(bytes, kTopOffset)) &&
         value_at<uint64_t>(bytes, kNextOffset) != 0;
}

}  // namespace

std::optional<Arena> parse_arena(std::span<const std::byte> bytes, uint64_t address) {
  if (bytes.size() < kArenaBytes || !may_be_arena(bytes)) return std::nullopt;
  Arena arena;
  arena.address = address;
  arena.top = value_at<uint64_t>(bytes, kTopOffset);
  arena.system_mem = value_at<uint64_t>(bytes, kSystemMemOffset);
  arena.next = value_at<uint64_t>(bytes, kNextOffset);
  arena.contiguous = (value_at<uint32_t>(bytes, kFlagsOffset) & 2) == 0;
  for (std::size_t bin = 0; bin < kBins; ++bin) {
    const auto first = value_at<uint64_t>(bytes, kBinsOffset + bin * 16);
    const auto last = value_at<uint64_t>(bytes, kBinsOffset + bin * 16 + 8);
    const uint64_t itself = bin_address(address, bin);
    if ((first == itself) != (last == itself)) return std::nullopt;
    if (first == itself) continue;
    if (!is_chunk_address(first) || !is_chunk_address(last)) return std::nullopt;
    arena.free_chunks.push_back(first);
  }
  for (std::size_t bin = 0; bin < kFastBins; ++bin) {
    const auto first = value_at<uint64_t>(bytes, kFastBinsOffset + bin * 8);
    if (first == 0) continue;
    if (!is_chunk_address(first)) return std::nullopt;
    arena.fast_bins.push_back(first);
  }
  return arena;
}

Result<std::string> read_version(const Target& target) {
  for (const model::Mapping& mapping : target.image.mappings) {
    if (mapping.writable || mapping.path != target.module) continue;
    const uint64_t end = std::min(mapping.end.value, mapping.start.value + kMostConstants);
    const auto bytes = read_range(target.memory, {mapping.start.value, end});
    if (!bytes) return std::unexpected(bytes.error());
    if (auto version = version_in(*bytes); !version.empty()) return version;
  }
  return std::string();
}

// The bins are alike, so that the search for them alone would also find places 16 bytes apart; what
// pins the place is system_mem, and a chain of arenas that leads back.
Result<std::optional<uint64_t>> find_main_arena(const Target& target) {
  for (int attempt = 0; attempt < kTries; ++attempt) {
    for (const model::AddressRange& range : data_of(target)) {
      const auto bytes = read_range(target.memory, range);
      if (!bytes) return std::unexpected(bytes.error());
      for (std::size_t at = 0; at + kArenaBytes <= bytes->size(); at += 8) {
        const auto candidate = std::span(*bytes).subspan(at, kArenaBytes);
        if (!may_be_arena(candidate) || !parse_arena(candidate, range.start + at)) continue;
        if (read_arenas(target.memory, range.start + at)) return range.start + at;
      }
    }
  }
  return std::nullopt;
}

namespace {

Result<std::vector<Arena>> follow_chain(MemoryReader& memory, uint64_t main_arena) {
  std::vector<Arena> arenas;
  uint64_t address = main_arena;
  do {
    const auto bytes = read_value<std::array<std::byte, kArenaBytes>>(memory, address);
    if (!bytes) return std::unexpected(bytes.error());
    auto arena = *bytes ? parse_arena(**bytes, address) : std::nullopt;
    if (!arena) return fail("the chain of glibc's arenas leads to what is none");
    address = arena->next;
    arenas.push_back(std::move(*arena));
  } while (address != main_arena && arenas.size() < kMostArenas);
  if (address != main_arena) return fail("the chain of glibc's arenas does not close");
  return arenas;
}

}  // namespace

Result<std::vector<Arena>> read_arenas(MemoryReader& memory, uint64_t main_arena) {
  for (int attempt = 1;; ++attempt) {
    auto arenas = follow_chain(memory, main_arena);
    if (arenas || attempt == kTries) return arenas;
  }
}

}  // namespace tidemark::audit::glibc
