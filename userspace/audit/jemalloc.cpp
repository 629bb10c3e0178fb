// SPDX-License-Identifier: Apache-2.0
//
// The books of jemalloc 5.3 (include/jemalloc/internal/{rtree,edata,bitmap}.h of 5.3.0; x86-64 with
// 48 bits of addresses). They lie apart from the blocks, below a tree by address:
//
//   root[address >> 30] -> leaf[address >> 12] -> extent { address, size, state, class, bitmap }
//
// The root is a variable of the library's. Where it begins is learned from blocks that are live:
// one beginning is right for all of them. What a thread keeps in its cache is allocated by these
// books, so that such a block looks live until the cache gives it back; what they call free is
// free.
#include <algorithm>
#include <array>
#include <map>

#include "audit/data_ranges.h"
#include "audit/openers.h"

namespace tidemark::audit {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kIndexMask = (1 << 18) - 1;
constexpr uint64_t kPointerMask = ((uint64_t{1} << 48) - 1) & ~uint64_t{127};
constexpr std::size_t kLeastLive = 8;
constexpr std::size_t kTriedForRoot = 16;  // blocks

// An extent, as in memory. Of a slab `bitmap` has a 1 for each region that is free.
struct Extent {
  uint64_t bits;
  uint64_t address;
  uint64_t size_and_serial;
  uint64_t unused[5];
  std::array<uint64_t, 8> bitmap;

  [[nodiscard]] bool is_slab() const { return (bits >> 12 & 1) != 0; }
  [[nodiscard]] uint64_t state() const { return bits >> 17 & 7; }
  [[nodiscard]] uint64_t size_class() const { return bits >> 20 & 255; }
  [[nodiscard]] uint64_t start() const { return address & ~(kPage - 1); }
  [[nodiscard]] uint64_t size() const { return size_and_serial & ~(kPage - 1); }
  [[nodiscard]] bool holds(uint64_t place) const {
    return place >= start() && place < start() + size();
  }
};
static_assert(sizeof(Extent) == 128);
constexpr uint64_t kActive = 0;

uint64_t root_offset(uint64_t address) {
  return 8 * (address >> 30 & kIndexMask);
}

uint64_t leaf_place(uint64_t leaf, uint64_t address) {
  return leaf + 8 * (address >> 12 & kIndexMask);
}

uint64_t extent_of(uint64_t leaf_word) {
  return leaf_word & kPointerMask;
}

// 8, then multiples of 16 up to 128, then 4 classes for each doubling.
uint64_t bytes_of_class(uint64_t size_class) {
  if (size_class <= 8) return size_class == 0 ? 8 : size_class * 16;
  const uint64_t group = (size_class - 9) / 4;
  const uint64_t step = (size_class - 9) % 4 + 1;
  return group > 40 ? 0 : (uint64_t{128} << group) + step * (uint64_t{32} << group);
}

class Jemalloc final : public Books {
 public:
  Status self_test(const Target& target, std::span<const Block> live) override;
  Result<std::vector<Observation>> look(const Target& target,
                                        std::span<const Block> blocks) override;

 private:
  [[nodiscard]] Result<std::optional<uint64_t>> find_root(const Target& target,
                                                          std::span<const Block> live) const;

  uint64_t root_ = 0;
};

bool is_writable(const Target& target, uint64_t address) {
  const auto& mappings = target.image.mappings;
  const auto behind = std::ranges::upper_bound(
      mappings, address, {}, [](const model::Mapping& mapping) { return mapping.start.value; });
  if (behind == mappings.begin()) return false;
  const model::Mapping& mapping = *std::prev(behind);
  return mapping.writable && address < mapping.end.value;
}

// Of what may be anything but an address: a read that fails is dear, and the target waits for us.
template <typename T>
Result<std::vector<std::optional<T>>> read_writable(const Target& target,
                                                    std::span<const uint64_t> addresses) {
  std::vector<uint64_t> there;
  std::vector<std::size_t> places;  // of those, among all
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (!is_writable(target, addresses[i])) continue;
    there.push_back(addresses[i]);
    places.push_back(i);
  }
  const auto values = read_values<T>(target.memory, there, kAnonymous);
  if (!values) return std::unexpected(values.error());
  std::vector<std::optional<T>> found(addresses.size());
  for (std::size_t i = 0; i < places.size(); ++i) found[places[i]] = (*values)[i];
  return found;
}

// The extents that the leaves at these places lead to; none where one does not.
Result<std::vector<std::optional<Extent>>> read_extents(const Target& target,
                                                        std::vector<uint64_t> leaf_places) {
  const auto words = read_writable<uint64_t>(target, leaf_places);
  if (!words) return std::unexpected(words.error());
  // Nothing is mapped at 0.
  for (std::size_t i = 0; i < words->size(); ++i)
    leaf_places[i] = extent_of((*words)[i].value_or(0));
  return read_writable<Extent>(target, leaf_places);
}

// Words of the library's data that may be pointers to leaves, by their places.
Result<std::map<uint64_t, uint64_t>> find_pointers(const Target& target) {
  std::map<uint64_t, uint64_t> pointers;
  for (const model::AddressRange& range : data_of(target)) {
    for (uint64_t at = range.start; at < range.end; at += kPage) {
      std::array<uint64_t, kPage / 8> words{};
      Read read{at, std::as_writable_bytes(std::span(words))};
      if (auto done = target.memory.read(std::span(&read, 1)); !done)
        return std::unexpected(done.error());
      for (std::size_t i = 0; read.done && i < words.size(); ++i) {
        if (words[i] % 64 == 0 && words[i] != 0 && words[i] >> 47 == 0)
          pointers[at + i * 8] = words[i];
      }
    }
  }
  return pointers;
}

// Each pointer is tried as the one that a live block's address leads to. Where the extent holds the
// block, the root is known; most blocks must agree.
Result<std::optional<uint64_t>> Jemalloc::find_root(const Target& target,
                                                    std::span<const Block> live) const {
  const auto pointers = find_pointers(target);
  if (!pointers) return std::unexpected(pointers.error());
  std::map<uint64_t, std::size_t> roots;
  const std::size_t tried = std::min(live.size(), kTriedForRoot);
  for (const Block& block : live.first(tried)) {
    const uint64_t address = block.address.value;
    std::vector<uint64_t> places;
    for (const auto& [place, leaf] : *pointers) places.push_back(leaf_place(leaf, address));
    const auto extents = read_extents(target, places);
    if (!extents) return std::unexpected(extents.error());
    std::size_t i = 0;
    for (const auto& [place, leaf] : *pointers) {
      const auto& extent = (*extents)[i++];
      if (extent && extent->holds(address)) ++roots[place - root_offset(address)];
    }
  }
  const auto most = std::ranges::max_element(roots, {}, [](const auto& row) { return row.second; });
  if (most == roots.end() || most->second * 2 < tried) return std::nullopt;
  return most->first;
}

Observation judge(const Block& block, const std::optional<Extent>& extent) {
  Observation seen{.state = State::kDead, .header = std::nullopt};
  const uint64_t address = block.address.value;
  if (!extent || !extent->holds(address) || extent->state() != kActive) return seen;
  const uint64_t size = bytes_of_class(extent->size_class());
  if (extent->is_slab()) {
    const uint64_t offset = address - extent->start();
    const uint64_t region = size == 0 ? 0 : offset / size;
    if (size == 0 || offset % size != 0 || region >= extent->bitmap.size() * 64) return seen;
    if ((extent->bitmap[region / 64] >> (region % 64) & 1) != 0) return seen;
  } else if (extent->address != address) {
    return seen;
  }
  seen.header = extent->start() ^ extent->size_class() << 56;
  const bool other = block.header && *block.header != *seen.header;
  seen.state = other || size < block.size_bytes ? State::kChanged : State::kLooksLive;
  return seen;
}

Result<std::vector<Observation>> Jemalloc::look(const Target& target,
                                                std::span<const Block> blocks) {
  std::vector<uint64_t> places;
  for (const Block& block : blocks) places.push_back(root_ + root_offset(block.address.value));
  const auto leaves = read_values<uint64_t>(target.memory, places);
  if (!leaves) return std::unexpected(leaves.error());
  for (std::size_t i = 0; i < blocks.size(); ++i)
    places[i] = leaf_place((*leaves)[i].value_or(0), blocks[i].address.value);
  const auto extents = read_extents(target, places);
  if (!extents) return std::unexpected(extents.error());
  std::vector<Observation> observations;
  for (std::size_t i = 0; i < blocks.size(); ++i)
    observations.push_back(judge(blocks[i], (*extents)[i]));
  return observations;
}

Status Jemalloc::self_test(const Target& target, std::span<const Block> live) {
  if (live.size() < kLeastLive)
    return fail("too few of its blocks are known to find its books by them");
  const auto root = find_root(target, live);
  if (!root) return std::unexpected(root.error());
  if (!*root) return fail("no tree of extents in the form of jemalloc 5.3 leads to its blocks");
  root_ = **root;
  const auto seen = look(target, live);
  if (!seen) return std::unexpected(seen.error());
  const auto found = std::ranges::count(*seen, State::kLooksLive, &Observation::state);
  if (static_cast<std::size_t>(found) * 2 >= live.size()) return {};
  return fail("of {} blocks that are allocated its books have {}", live.size(), found);
}

}  // namespace

Result<std::unique_ptr<Books>> open_jemalloc(const Target&) {
  return std::make_unique<Jemalloc>();
}

}  // namespace tidemark::audit
