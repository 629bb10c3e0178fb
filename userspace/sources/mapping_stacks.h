// SPDX-License-Identifier: Apache-2.0
//
// MappingStacks: from the stack of a system call to that of the function which wanted the memory:
// walked again where BPF lacked rules, and without the C library's own wrapper of the system call.
// Single-threaded.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bpf/abi/mapping.h"
#include "model/snapshot.h"
#include "sources/unwind_rules.h"
#include "support/clock.h"

namespace tidemark::sources {

// A record of the ring buffer, with a stack or a sample where it has one.
struct MappingRecord {
  tm_mapping_record call{};
  struct Sample {
    uint64_t start = 0;
    std::vector<std::byte> bytes;
  };
  std::optional<tm_stack> stack;
  std::optional<Sample> sample;
  std::optional<MonotonicTime> first_look;  // since when it waits for maps to be read
};

// Who called, by the binary that the innermost code is in.
enum class Requester { kProgram, kLoader, kMuslOrLoader };
[[nodiscard]] Requester requester_of(std::string_view path);

class MappingStacks {
 public:
  explicit MappingStacks(std::shared_ptr<const UnwindRules> rules) : rules_(std::move(rules)) {}

  struct Asked {
    model::Stack stack;  // no frames where there is none
    Requester requester = Requester::kProgram;
    bool in_allocator = false;  // whose blocks are counted: one of its functions is on the stack
    bool met_unknown_code = false;  // whose maps may be read in a moment
  };
  [[nodiscard]] Asked resolve(const MappingRecord& record);
  // Where an address space has the code of allocators that are probed.
  void learn_allocators(model::Generation owner, std::vector<model::AddressRange> text) {
    allocator_text_[owner] = std::move(text);
  }
  [[nodiscard]] bool knows_allocators(model::Generation owner) const {
    return allocator_text_.contains(owner);
  }
  // Keeps it under its id; kStackLost for one without frames.
  model::StackId keep(model::Stack stack);
  [[nodiscard]] const std::unordered_map<model::StackId, model::Stack>& all() const {
    return stacks_;
  }

 private:
  struct Span {
    elf::Vaddr start;
    elf::Vaddr end;
  };
  [[nodiscard]] model::Stack walk(const MappingRecord& record, bool& met_unknown_code) const;
  [[nodiscard]] bool passes_allocator(model::Generation owner, const model::Stack& stack) const;
  [[nodiscard]] bool is_wrapper(const UnwindRules::Place& place);

  std::shared_ptr<const UnwindRules> rules_;
  std::map<model::Generation, std::vector<model::AddressRange>> allocator_text_;
  std::map<model::FileId, std::vector<Span>> wrappers_;
  std::unordered_map<model::StackId, model::Stack> stacks_;
};

}  // namespace tidemark::sources
