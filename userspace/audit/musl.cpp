// SPDX-License-Identifier: Apache-2.0
//
// The books of musl's mallocng (since musl 1.2.1): src/malloc/mallocng/meta.h as of 1.2.3. Exact,
// and without a cache of threads: a slot is allocated, freed or never used, by two masks.
//
//   page of metas: { secret, ... meta ... }     the secret is the same on all of them
//                             │ mem
//   group: { meta*, ... } slot slot slot ...    a block knows its group by the 4 bytes before it
//
// A block that is allocated passes every check that musl itself makes when it is freed.
#include <algorithm>
#include <array>
#include <map>

#include "audit/openers.h"

namespace tidemark::audit {
namespace {

constexpr uint64_t kUnit = 16;
constexpr uint64_t kGroupHeader = 16;
constexpr uint64_t kPage = 4096;
constexpr std::size_t kLeastLive = 8;
constexpr int kTries = 3;
constexpr uint32_t kOwnMapping = 63;  // a size class: one slot, a mapping of its own

// Units of a slot, by size class.
constexpr std::array<uint16_t, 48> kSlotUnits = {
    1,   2,   3,   4,    5,    6,    7,    8,    9,    10,   12,   15,   18,   20,   25,   31,
    36,  42,  50,  63,   72,   84,   102,  127,  146,  170,  204,  255,  292,  340,  409,  511,
    584, 682, 818, 1023, 1169, 1364, 1637, 2047, 2340, 2730, 3276, 4095, 4680, 5460, 6552, 8191};

// The 8 bytes before a block.
struct InBand {
  uint32_t large_offset;
  uint8_t is_large;
  uint8_t index_and_rest;  // 255 once it is free
  uint16_t offset;
};
static_assert(sizeof(InBand) == 8);

struct Meta {
  uint64_t previous;
  uint64_t next;
  uint64_t mem;
  uint32_t available;
  uint32_t freed;
  uint64_t packed;  // last_idx:5, freeable:1, sizeclass:6, pages:52

  [[nodiscard]] uint32_t last_index() const { return packed & 31; }
  [[nodiscard]] uint32_t size_class() const { return (packed >> 6) & 63; }
  [[nodiscard]] uint64_t pages() const { return packed >> 12; }
};
static_assert(sizeof(Meta) == 40);

// What is read of a block, one thing leading to the next.
struct Chain {
  std::optional<InBand> in_band;
  uint64_t group = 0;
  std::optional<uint64_t> meta_address;
  std::optional<Meta> meta;
  std::optional<uint64_t> secret;
  std::optional<InBand> in_band_again;
};

uint64_t units_before(const InBand& in_band) {
  return in_band.is_large != 0 ? in_band.large_offset : in_band.offset;
}

uint32_t index_of(const InBand& in_band) {
  return in_band.index_and_rest & 31;
}

bool is_free_in_band(const InBand& in_band) {
  return in_band.index_and_rest == 255 && in_band.offset == 0;
}

uint64_t slot_units(const Meta& meta) {
  if (meta.last_index() == 0 && meta.pages() != 0)
    return (meta.pages() * kPage - kGroupHeader) / kUnit;
  return meta.size_class() < kSlotUnits.size() ? kSlotUnits[meta.size_class()] : 0;
}

// Does the slot hold a block that begins here?
bool is_allocated(const Chain& chain) {
  const Meta& meta = *chain.meta;
  const uint32_t index = index_of(*chain.in_band);
  if (meta.mem != chain.group || index > meta.last_index()) return false;
  if (((meta.available | meta.freed) >> index & 1) != 0) return false;
  if (meta.size_class() >= kSlotUnits.size() && meta.size_class() != kOwnMapping) return false;
  const uint64_t units = slot_units(meta);
  const uint64_t offset = units_before(*chain.in_band);
  return units == 0 || (offset >= units * index && offset < units * (index + 1));
}

bool same(const InBand& one, const InBand& other) {
  return one.is_large == other.is_large && one.index_and_rest == other.index_and_rest &&
         one.offset == other.offset;
}

class Musl final : public Books {
 public:
  Status self_test(const Target& target, std::span<const Block> live) override;
  Result<std::vector<Observation>> look(const Target& target,
                                        std::span<const Block> blocks) override;

 private:
  [[nodiscard]] Observation judge(const Block& block, const Chain& chain) const;

  uint64_t secret_ = 0;  // 0: not learned yet
};

// Reads all chains in step.
Result<std::vector<Chain>> read_chains(MemoryReader& memory, std::span<const Block> blocks) {
  std::vector<Chain> chains(blocks.size());
  std::vector<uint64_t> places(blocks.size());
  const auto read = [&](auto Chain::*member, auto place_of) -> Status {
    using Value = typename std::remove_cvref_t<decltype(chains[0].*member)>::value_type;
    for (std::size_t i = 0; i < blocks.size(); ++i) places[i] = place_of(i);
    auto values = read_values<Value>(memory, places);
    if (!values) return std::unexpected(values.error());
    for (std::size_t i = 0; i < blocks.size(); ++i) chains[i].*member = (*values)[i];
    return {};
  };
  const auto before = [&](std::size_t i) { return blocks[i].address.value - sizeof(InBand); };
  if (auto done = read(&Chain::in_band, before); !done) return std::unexpected(done.error());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (!chains[i].in_band) continue;
    chains[i].group =
        blocks[i].address.value - kUnit * units_before(*chains[i].in_band) - kGroupHeader;
  }
  // Nothing is mapped at 0: what leads nowhere stays unread.
  const auto group = [&](std::size_t i) { return chains[i].group; };
  const auto meta = [&](std::size_t i) { return chains[i].meta_address.value_or(0); };
  const auto area = [&](std::size_t i) { return meta(i) & ~(kPage - 1); };
  if (auto done = read(&Chain::meta_address, group); !done) return std::unexpected(done.error());
  if (auto done = read(&Chain::meta, meta); !done) return std::unexpected(done.error());
  if (auto done = read(&Chain::secret, area); !done) return std::unexpected(done.error());
  if (auto done = read(&Chain::in_band_again, before); !done) return std::unexpected(done.error());
  return chains;
}

// The size that was asked for stands at the end of the slot, as what is left of it; only what of it
// is in band is looked at.
Observation Musl::judge(const Block& block, const Chain& chain) const {
  Observation seen;
  if (!chain.in_band || is_free_in_band(*chain.in_band)) {
    seen.state = State::kDead;
    return seen;
  }
  // Which slot of which group, and how much of it: a block keeps that until it is resized.
  seen.header = chain.group ^ (uint64_t{chain.in_band->index_and_rest} << 56);
  if (!chain.meta_address || !chain.meta || !chain.secret || *chain.secret != secret_ ||
      !is_allocated(chain)) {
    seen.state = State::kDead;
    return seen;
  }
  const bool other = block.header && *block.header != *seen.header;
  const bool too_small =
      slot_units(*chain.meta) != 0 && slot_units(*chain.meta) * kUnit < block.size_bytes;
  seen.state = other || too_small ? State::kChanged : State::kLooksLive;
  return seen;
}

// A block that is resized in place between two readings is read again.
Result<std::vector<Observation>> Musl::look(const Target& target, std::span<const Block> blocks) {
  std::vector<Observation> observations(blocks.size());
  std::vector<std::size_t> left(blocks.size());
  for (std::size_t i = 0; i < left.size(); ++i) left[i] = i;
  for (int attempt = 0; attempt < kTries && !left.empty(); ++attempt) {
    std::vector<Block> asked;
    for (const std::size_t i : left) asked.push_back(blocks[i]);
    const auto chains = read_chains(target.memory, asked);
    if (!chains) return std::unexpected(chains.error());
    std::vector<std::size_t> again;
    for (std::size_t i = 0; i < left.size(); ++i) {
      const Chain& chain = (*chains)[i];
      observations[left[i]] = judge(asked[i], chain);
      const bool changed =
          chain.in_band && chain.in_band_again && !same(*chain.in_band, *chain.in_band_again);
      if (changed) again.push_back(left[i]);
    }
    left = std::move(again);
  }
  return observations;
}

Status Musl::self_test(const Target& target, std::span<const Block> live) {
  const auto chains = read_chains(target.memory, live);
  if (!chains) return std::unexpected(chains.error());
  std::map<uint64_t, std::size_t> secrets;
  std::size_t read = 0;
  for (const Chain& chain : *chains) {
    if (!chain.in_band || is_free_in_band(*chain.in_band)) continue;
    ++read;
    if (chain.secret && chain.meta && is_allocated(chain)) ++secrets[*chain.secret];
  }
  const auto most =
      std::ranges::max_element(secrets, {}, [](const auto& row) { return row.second; });
  const std::size_t agreeing = most == secrets.end() ? 0 : most->second;
  if (read < kLeastLive || agreeing == 0)
    return fail("too few of its blocks are known to tell whether its books are those of mallocng");
  // Some were freed since, and their places given out again.
  if (agreeing * 2 < read || most->first == 0) {
    return fail("of {} blocks that are allocated {} are not in books of mallocng's form", read,
                read - agreeing);
  }
  secret_ = most->first;
  return {};
}

}  // namespace

Result<std::unique_ptr<Books>> open_musl(const Target&) {
  return std::make_unique<Musl>();
}

}  // namespace tidemark::audit
