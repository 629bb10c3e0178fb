// SPDX-License-Identifier: Apache-2.0
//
// Books: what an allocator itself notes of its blocks, read from outside of a process that runs.
// One file and one row in allocators.cpp for each allocator that is known.
//
//   blocks of ours that nobody was seen to free -> Books::look -> is each still allocated?
//
// A book refutes and never counts: kDead is certain, kLooksLive is not, since a block that was
// freed and given out again at the same address and size looks the same.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "audit/memory_reader.h"
#include "model/ids.h"
#include "model/process.h"
#include "support/result.h"

namespace tidemark::audit {

struct Block {
  model::Address address;
  uint64_t size_bytes = 0;
  bool aligned = false;            // the room that it takes does not follow from its size
  std::optional<uint64_t> header;  // as the first look found it
};

enum class State {
  kUnknown,    // in none of the books that can be read
  kLooksLive,  // allocated, at this size
  kChanged,    // allocated, at another size
  kDead,       // not allocated any more
};

struct Observation {
  State state = State::kUnknown;
  std::optional<uint64_t> header;  // what must be the same as long as the block is the same
};

// What is read, and where.
struct Target {
  MemoryReader& memory;
  const model::ProcessImage& image;  // read just before
  std::string_view module;           // path of the file that has the allocator, as in the maps
};

class Books {
 public:
  virtual ~Books() = default;

  // Are these books what we take them for? `live`: blocks that were live a moment ago, most of
  // which must be found. An error is the reason for not using them.
  [[nodiscard]] virtual Status self_test(const Target& target, std::span<const Block> live) = 0;

  // One observation for each block. An error: the process is gone, or its books cannot be followed.
  // All blocks must have been allocated before the call.
  [[nodiscard]] virtual Result<std::vector<Observation>> look(const Target& target,
                                                              std::span<const Block> blocks) = 0;

  // Goes through the books from their beginning, at most so many bytes of them, for blocks that
  // look live and are none. Those from which the first look hides nothing have nothing to do here.
  [[nodiscard]] virtual Status look_through(const Target& /*target*/,
                                            std::span<const Block> /*blocks*/,
                                            std::span<Observation> /*observations*/,
                                            uint64_t /*most_bytes*/) {
    return {};
  }
};

// Of the blocks of a self-test so many may lie where the books know of no memory, in percent.
inline constexpr std::size_t kMostAstrayPercent = 5;

using OpenBooks = Result<std::unique_ptr<Books>> (*)(const Target& target);

struct AllocatorBooks {
  std::string_view allocator;  // as in sources/allocators.cpp
  OpenBooks open = nullptr;    // null: its books are not read
  std::string_view reason;     // why not
};

// An explicit table. An allocator without a row is one whose books nobody has looked at.
[[nodiscard]] std::span<const AllocatorBooks> allocator_books();
[[nodiscard]] const AllocatorBooks& books_of(std::string_view allocator);

}  // namespace tidemark::audit
