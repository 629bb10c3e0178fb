// SPDX-License-Identifier: Apache-2.0
//
// MappingBook: the records of BPF, in their order, into the mappings of each address space, and
// from there into call sites. Knows no maps and no kernel. Single-threaded.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "bpf/abi/mapping.h"
#include "model/process.h"
#include "model/snapshot.h"
#include "sources/mapping_space.h"
#include "sources/mapping_stacks.h"
#include "sources/source.h"
#include "support/clock.h"

namespace tidemark::sources {

class MappingBook {
 public:
  explicit MappingBook(std::shared_ptr<const UnwindRules> rules) : stacks_(std::move(rules)) {}

  // A record's bytes, as they came out of the ring buffer.
  void hear(std::span<const std::byte> bytes);
  // Books what was heard. A stack through code that is not known yet may wait for the next reading
  // of the maps, some moments long, and with it all that came after of the same address space; so
  // may what was mapped before the allocators were known.
  [[nodiscard]] Served settle(MonotonicTime now);
  // Books all of it, known or not.
  void settle_all();
  void forget(model::Generation generation);
  // Whose records wait for learn_allocators(): told before settle(), they can be told apart.
  [[nodiscard]] std::vector<model::Generation> without_allocators() const;
  void learn_allocators(model::Generation owner, std::vector<model::AddressRange> text) {
    stacks_.learn_allocators(owner, std::move(text));
  }
  // After records were lost: mappings that are not in the image are taken off. An image of nothing
  // but code was not read from the process's maps and says nothing of the others.
  void verify(model::Generation generation, const model::ProcessImage& image, MonotonicTime now);

  void collect(const Window& window, Collected& into) const;

  struct Counts {
    tm_count missed_unmaps{};
    tm_count unknown_sizes{};
    tm_count unmatched_unmaps{};
    tm_count dropped_at_exec{};
  };
  [[nodiscard]] const Counts& counts() const { return counts_; }

 private:
  void book(const MappingRecord& record, MappingStacks::Asked asked);
  void book_new(MappingSpace& space, const MappingRecord& record, MappingStacks::Asked asked);
  [[nodiscard]] bool settle_one(std::deque<MappingRecord>& heard, std::optional<MonotonicTime> now);
  void book_end(MappingSpace& space, const tm_mapping_record& call);
  void collect_space(model::Generation owner, const MappingSpace& space, const Window& window,
                     Collected& into) const;

  std::map<model::Generation, std::deque<MappingRecord>> heard_;
  MappingStacks stacks_;
  std::map<model::Generation, MappingSpace> spaces_;
  Counts counts_;
};

}  // namespace tidemark::sources
