// SPDX-License-Identifier: Apache-2.0
//
// glibc's books. A chunk is free if the next one says that the one before it is not in use, if it
// lies above the top, if it is on a list (glibc_lists), or if no chunk begins there (glibc_walk);
// a chunk's own header stays as it was when it is freed. None of these is ever so of a block that
// is allocated, however the heap changes meanwhile: each bit is one store of 8 bytes. Only what is
// derived from two words has to be read in a row that shows the first one unchanged behind the
// second.
#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "audit/data_ranges.h"
#include "audit/glibc_arenas.h"
#include "audit/glibc_lists.h"
#include "audit/glibc_walk.h"
#include "audit/openers.h"

namespace tidemark::audit {
namespace {

using namespace glibc;

// Whose layout stands in glibc_arenas.h and glibc_lists.h, and was tried.
constexpr std::array<std::string_view, 1> kVersions = {"2.36"};

constexpr int kTries = 3;                     // for a header that changes while it is read
constexpr uint64_t kWholeWord = ~kPrevInUse;  // that flag is the neighbour's
constexpr std::size_t kLeastLive = 8;         // blocks, to be a test at all
constexpr std::size_t kMostFreeTried = 64;

struct Header {
  uint64_t previous_size;
  uint64_t size;
};

uint64_t chunk_of(const Block& block) {
  return block.address.value - kChunkHeader;
}

// Sizes of chunks that malloc gives out for a request: what is needed, or 16 bytes more where those
// would have been too little for a chunk of their own.
bool is_size_for(uint64_t requested, uint64_t size_word) {
  const uint64_t size = size_word & ~kFlags;
  const uint64_t needed = std::max(kLeastChunk, (requested + 8 + 15) & ~uint64_t{15});
  return size == needed || size == needed + 16;
}

bool is_sane_neighbour(uint64_t size_word) {
  const uint64_t size = size_word & ~kFlags;
  return size % 16 == 0 && size >= kChunkHeader && size < uint64_t{1} << 47;
}

class Glibc final : public Books {
 public:
  explicit Glibc(uint64_t main_arena) : main_arena_(main_arena) {}
  Status self_test(const Target& target, std::span<const Block> live) override;
  Result<std::vector<Observation>> look(const Target& target,
                                        std::span<const Block> blocks) override;
  Status look_through(const Target& target, std::span<const Block> blocks,
                      std::span<Observation> observations, uint64_t most_bytes) override;

 private:
  struct Reading {
    Heaps heaps;
    FreeLists lists;
  };
  [[nodiscard]] Result<Reading> read_books(const Target& target) const;
  [[nodiscard]] Status test_lists(const FreeLists& lists, const Target& target) const;
  [[nodiscard]] Result<bool> are_free_chunks_free(MemoryReader& memory) const;
  [[nodiscard]] Status test_free_chunks(MemoryReader& memory) const;
  [[nodiscard]] Status test_live(std::span<const Observation> observations) const;

  uint64_t main_arena_;
};

// A block with what the first reading said of it.
struct Case {
  const Block* block = nullptr;
  Observation* observation = nullptr;
  uint64_t size_word = 0;
};

// Of a chunk in a heap, by its neighbour. `again`: its own header changed meanwhile.
enum class Neighbour { kSaysInUse, kSaysFree, kAgain };

Neighbour ask_neighbour(const Case& asked, const Read& neighbour, const Header& behind,
                        const Read& own, const Header& once_more) {
  if (!own.done || ((once_more.size ^ asked.size_word) & kWholeWord) != 0) return Neighbour::kAgain;
  if (!neighbour.done || !is_sane_neighbour(behind.size)) return Neighbour::kSaysFree;
  return (behind.size & kPrevInUse) != 0 ? Neighbour::kSaysInUse : Neighbour::kSaysFree;
}

// Marks those dead whose neighbours say so. Those that change all the time stay as they are.
Status ask_neighbours(MemoryReader& memory, std::vector<Case> cases) {
  for (int attempt = 0; attempt < kTries && !cases.empty(); ++attempt) {
    std::vector<Header> headers(cases.size() * 2);
    std::vector<Read> reads;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const uint64_t chunk = chunk_of(*cases[i].block);
      const uint64_t next = chunk + (cases[i].size_word & ~kFlags);
      for (const uint64_t place : {next, chunk}) {
        reads.push_back({place, std::as_writable_bytes(std::span(&headers[reads.size()], 1))});
      }
    }
    if (auto done = memory.read(reads); !done) return done;
    std::vector<Case> again;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const Header& own = headers[i * 2 + 1];
      switch (ask_neighbour(cases[i], reads[i * 2], headers[i * 2], reads[i * 2 + 1], own)) {
        case Neighbour::kSaysInUse:
          break;
        case Neighbour::kSaysFree:
          cases[i].observation->state = State::kDead;
          break;
        case Neighbour::kAgain:
          if (!reads[i * 2 + 1].done) break;
          cases[i].size_word = own.size;
          again.push_back(cases[i]);
      }
    }
    cases = std::move(again);
  }
  return {};
}

// A block with a mapping of its own.
bool is_mapped(const Header& header) {
  return (header.size & kIsMapped) != 0;
}

bool fills_pages(const Block& block, const Header& header) {
  const uint64_t size = header.size & ~kFlags;
  return size >= block.size_bytes + kChunkHeader &&
         (chunk_of(block) - header.previous_size) % kPage == 0 &&
         (header.previous_size + size) % kPage == 0;
}

// By its own header alone, and where it lies.
State judge_header(const Block& block, const Header& header, const std::optional<Heap>& heap) {
  if (heap && heap->top && chunk_of(block) >= *heap->top) return State::kDead;
  if (block.header && *block.header != (header.size & kWholeWord)) return State::kChanged;
  const bool is_other = is_mapped(header)
                            ? !fills_pages(block, header)
                            : !block.aligned && !is_size_for(block.size_bytes, header.size);
  if (!block.header && is_other) return State::kChanged;
  if (!is_mapped(header) && !heap) return State::kUnknown;
  return State::kLooksLive;
}

Result<Glibc::Reading> Glibc::read_books(const Target& target) const {
  auto arenas = read_arenas(target.memory, main_arena_);
  if (!arenas) return std::unexpected(arenas.error());
  auto lists = read_free_lists(target, *arenas);
  if (!lists) return std::unexpected(lists.error());
  return Reading{Heaps(std::move(*arenas)), std::move(*lists)};
}

Result<std::vector<Observation>> Glibc::look(const Target& target, std::span<const Block> blocks) {
  auto books = read_books(target);
  if (!books) return std::unexpected(books.error());
  std::vector<uint64_t> places;
  for (const Block& block : blocks) places.push_back(chunk_of(block));
  const auto headers = read_values<Header>(target.memory, places);
  if (!headers) return std::unexpected(headers.error());
  std::vector<Observation> observations(blocks.size());
  std::vector<Case> cases;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const Block& block = blocks[i];
    Observation& seen = observations[i];
    const auto& header = (*headers)[i];
    if (!header || books->lists.blocks.contains(block.address.value)) {
      seen.state = State::kDead;
      continue;
    }
    std::optional<Heap> heap;
    if (!is_mapped(*header)) {
      const auto found = books->heaps.heap_of(target.memory, chunk_of(block));
      if (!found) return std::unexpected(found.error());
      heap = *found;
    }
    seen.header = header->size & kWholeWord;
    seen.state = judge_header(block, *header, heap);
    if (heap && seen.state != State::kDead) cases.push_back({&block, &seen, header->size});
  }
  if (auto asked = ask_neighbours(target.memory, std::move(cases)); !asked)
    return std::unexpected(asked.error());
  return observations;
}

// Only what two walks passed over: a heap changes while it is walked.
Status Glibc::look_through(const Target& target, std::span<const Block> blocks,
                           std::span<Observation> observations, uint64_t most_bytes) {
  auto arenas = read_arenas(target.memory, main_arena_);
  if (!arenas) return std::unexpected(arenas.error());
  Heaps heaps(std::move(*arenas));
  std::map<Heap, std::set<uint64_t>> wanted;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto& header = observations[i].header;
    const bool may_be_covered =
        observations[i].state == State::kLooksLive || observations[i].state == State::kChanged;
    if (!may_be_covered || !header || (*header & kIsMapped) != 0) continue;
    const auto heap = heaps.heap_of(target.memory, chunk_of(blocks[i]));
    if (!heap) return std::unexpected(heap.error());
    if (*heap) wanted[**heap].insert(chunk_of(blocks[i]));
  }
  std::set<uint64_t> passed_over;
  for (auto& [heap, chunks] : wanted) {
    const uint64_t bytes = heap.top.value_or(heap.end) - heap.first;
    if (bytes * 2 > most_bytes) continue;
    most_bytes -= bytes * 2;
    for (int walk = 0; walk < 2 && !chunks.empty(); ++walk) {
      auto found = find_passed_over(target.memory, heap, chunks);
      if (!found) return std::unexpected(found.error());
      chunks = std::move(*found);
    }
    passed_over.merge(chunks);
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (passed_over.contains(chunk_of(blocks[i]))) observations[i].state = State::kDead;
  }
  return {};
}

// The number that entries of caches bear is a variable of libc's, of which there is one.
Status Glibc::test_lists(const FreeLists& lists, const Target& target) const {
  if (!lists.key || lists.agreeing * 100 >= lists.entries * 95) return {};
  if (lists.agreeing * 2 < lists.entries)
    return fail("the caches of its threads hold {} entries, of which only {} agree", lists.entries,
                lists.agreeing);
  for (const model::AddressRange& range : data_of(target)) {
    std::vector<uint64_t> words((range.end - range.start) / 8);
    Read read{range.start, std::as_writable_bytes(std::span(words))};
    if (auto done = target.memory.read(std::span(&read, 1)); !done) return done;
    if (std::ranges::count(words, *lists.key) == 1) return {};
  }
  return fail("the caches of its threads do not agree on their key");
}

// The first chunks of the bins are free, and their neighbours must say so.
Result<bool> Glibc::are_free_chunks_free(MemoryReader& memory) const {
  const auto arenas = read_arenas(memory, main_arena_);
  if (!arenas) return std::unexpected(arenas.error());
  std::vector<uint64_t> chunks;
  for (const Arena& arena : *arenas)
    std::ranges::copy(arena.free_chunks, std::back_inserter(chunks));
  chunks.resize(std::min(chunks.size(), kMostFreeTried));
  const auto headers = read_values<Header>(memory, chunks);
  if (!headers) return std::unexpected(headers.error());
  std::vector<Block> blocks(chunks.size());
  std::vector<Observation> seen(chunks.size());
  std::vector<Case> cases;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    blocks[i].address = model::Address{chunks[i] + kChunkHeader};
    if ((*headers)[i]) cases.push_back({&blocks[i], &seen[i], (*headers)[i]->size});
  }
  if (auto asked = ask_neighbours(memory, std::move(cases)); !asked)
    return std::unexpected(asked.error());
  const auto free = std::ranges::count(seen, State::kDead, &Observation::state);
  return static_cast<std::size_t>(free) * 2 >= chunks.size();
}

Status Glibc::test_free_chunks(MemoryReader& memory) const {
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const auto free = are_free_chunks_free(memory);
    if (!free) return std::unexpected(free.error());
    if (*free) return {};
  }
  return fail("most chunks of its bins are not free by what their neighbours say");
}

// Some were freed since, and their places given out again.
Status Glibc::test_live(std::span<const Observation> observations) const {
  const auto count = [&](State state) {
    return static_cast<std::size_t>(std::ranges::count(observations, state, &Observation::state));
  };
  const std::size_t astray = count(State::kUnknown);
  const std::size_t others = count(State::kChanged);
  if (observations.size() < kLeastLive) return {};
  if (astray * 100 > observations.size() * kMostAstrayPercent ||
      (astray + others) * 2 > observations.size()) {
    return fail(
        "of {} blocks that are allocated {} lie where its books have no memory, and {} have "
        "another "
        "size there",
        observations.size(), astray, others);
  }
  return {};
}

Status Glibc::self_test(const Target& target, std::span<const Block> live) {
  const auto books = read_books(target);
  if (!books) return std::unexpected(books.error());
  if (auto tested = test_lists(books->lists, target); !tested) return tested;
  if (auto tested = test_free_chunks(target.memory); !tested) return tested;
  const auto seen = look(target, live);
  if (!seen) return std::unexpected(seen.error());
  return test_live(*seen);
}

}  // namespace

Result<std::unique_ptr<Books>> open_glibc(const Target& target) {
  const auto version = read_version(target);
  if (!version) return std::unexpected(version.error());
  if (std::ranges::find(kVersions, *version) == kVersions.end()) {
    return fail("{}: the layout of its heap is known for {} only",
                version->empty() ? "its version is not told" : "version " + *version,
                fmt::join(kVersions, ", "));
  }
  const auto main_arena = find_main_arena(target);
  if (!main_arena) return std::unexpected(main_arena.error());
  if (!*main_arena) return fail("its main arena was not found");
  return std::make_unique<Glibc>(**main_arena);
}

}  // namespace tidemark::audit
