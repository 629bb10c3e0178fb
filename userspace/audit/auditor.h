// SPDX-License-Identifier: Apache-2.0
//
// Auditor: looks up blocks that nobody was seen to free in their allocators' own books, again and
// again while a trace runs, and says of each call site what became of a sample of its blocks. It
// keeps of a block its header and a hash of its first bytes, never the bytes. Single-threaded; the
// targets are read, not stopped.
//
//   look:    not looked at ─> looks live, same ─> looks live, written to
//                  └─────────────┴───> changed, dead: for good, not read again
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "audit/books.h"
#include "audit/memory_reader.h"
#include "model/audit.h"
#include "model/block_history.h"
#include "model/snapshot.h"
#include "support/clock.h"

namespace tidemark::audit {

struct Limits {
  uint64_t walk_bytes = 128 << 20;  // of heaps that are gone through, in a thorough look
  std::size_t self_test_blocks = 64;
  // A test on fewer says little: it is made again when there are more.
  std::size_t self_test_enough = 8;
};

enum class Depth { kQuick, kThorough };

// Blocks of one allocator in one process.
struct Subject {
  model::Generation owner;
  std::string allocator;
  std::string module;  // path of its file, as in the maps; empty: it is in several
  std::vector<model::LiveBlock> blocks;
  std::vector<model::LiveBlock> youngest;  // of all call sites
  // Only the content of blocks that were not looked at before, to be compared with later: probes
  // say that they are live.
  bool only_new = false;
  // Probes were there throughout, so that these blocks were live when the snapshot was taken.
  bool watched = true;
  uint64_t min_age_ns = 1'000'000'000;  // of a block, before its content is compared
};

// How a process is read: its image as it is now, its memory.
struct Access {
  std::function<Result<model::ProcessImage>(model::Generation)> image;
  std::function<Result<std::unique_ptr<MemoryReader>>(model::Generation)> memory;
  std::function<const AllocatorBooks&(std::string_view allocator)> books = books_of;
};

class Auditor {
 public:
  Auditor(Limits limits, Access access) : limits_(limits), access_(std::move(access)) {}

  // The blocks must have been allocated, and not been seen freed, before the call.
  void look(const Subject& subject, Depth depth, MonotonicTime now);

  // The process has ended: what was seen of its blocks stays known.
  void release(model::Generation owner);

  // What is known of these blocks; those that were never looked up are not counted. None where that
  // is all of them.
  [[nodiscard]] std::optional<model::AuditShares> shares_of(
      const std::string& allocator, std::span<const model::LiveBlock> blocks) const;
  // What the last look at a block said, and when that was; none where it said nothing.
  struct Seen {
    model::AuditVerdict verdict = model::AuditVerdict::kDead;
    uint64_t at_ns = 0;
  };
  [[nodiscard]] std::optional<Seen> seen_of(const std::string& allocator,
                                            const model::LiveBlock& block) const;
  // How often another block in the place of one of these begins with the same bytes, so that it
  // looks like the one that was there: of these blocks any two, and those that were seen to follow
  // each other at one address, whichever is more often. None where no two were compared.
  [[nodiscard]] std::optional<double> same_by_chance(
      const std::string& allocator, std::span<const model::LiveBlock> blocks) const;
  // A row for each allocator that was audited, and for each that could not be, with the reason.
  [[nodiscard]] std::vector<model::Coverage> coverage() const;
  [[nodiscard]] const model::AuditCost& cost() const { return cost_; }

 private:
  struct Record {
    State state = State::kUnknown;
    std::optional<uint64_t> header;
    std::optional<uint64_t> hash;
    uint64_t hashed_ns = 0;    // when `hash` was taken
    uint64_t compared_ns = 0;  // when it was last compared
    uint64_t looked_ns = 0;    // when its state was last looked up
    bool written_to = false;
  };
  // A block that realloc resizes in place keeps its address and birth.
  using BlockKey = std::tuple<model::Address, uint64_t, uint64_t>;
  using Records = std::map<BlockKey, Record>;
  using SubjectKey = std::pair<model::Generation, std::string>;
  // Who was where, and how often the next one at an address looked the same.
  struct Places {
    struct Occupant {
      uint64_t birth_ns = 0;
      uint64_t hash = 0;
    };
    struct Followed {
      double times = 0;
      double same = 0;
    };
    std::map<std::pair<model::Address, uint64_t>, Occupant> last;  // by address and room
    std::map<uint64_t, Followed> followed;                         // by room
    void note(const model::LiveBlock& block, uint64_t hash);
  };
  struct Opened {
    std::unique_ptr<MemoryReader> memory;
    std::unique_ptr<Books> books;          // null where they cannot be read
    std::optional<std::size_t> tested_on;  // so many blocks; none: not tested yet
  };

  [[nodiscard]] static BlockKey key_of(const model::LiveBlock& block) {
    return {block.address, block.birth_ns, block.size_bytes};
  }
  [[nodiscard]] Status look_up(const Subject& subject, Depth depth, MonotonicTime now);
  [[nodiscard]] Status test(const Subject& subject, const Target& target, Opened& opened) const;
  [[nodiscard]] Result<Opened*> open(const Subject& subject, const model::ProcessImage& image);
  void take(const Subject& subject, std::span<const model::LiveBlock> asked,
            std::span<const Observation> seen, MonotonicTime now);
  [[nodiscard]] Status compare_content(MemoryReader& memory, Records& records, Places& places,
                                       std::span<const model::LiveBlock> blocks,
                                       uint64_t min_age_ns, MonotonicTime now);
  // None where the block was never looked up.
  [[nodiscard]] const Record* record_of(const std::string& allocator,
                                        const model::LiveBlock& block) const;

  Limits limits_;
  Access access_;
  std::map<SubjectKey, Opened> opened_;
  std::map<SubjectKey, Records> records_;
  std::map<SubjectKey, Places> places_;
  std::set<std::string> audited_;              // allocators
  std::map<SubjectKey, std::string> refused_;  // and why
  model::AuditCost cost_;
};

}  // namespace tidemark::audit
