// SPDX-License-Identifier: Apache-2.0
//
// ABI records of heap tracing into model values. Pure.
#pragma once

#include <unordered_map>
#include <vector>

#include "bpf/abi/heap.h"
#include "model/snapshot.h"
#include "sources/source.h"

namespace tidemark::sources {

// Call sites are put in by add_site, then every live block by add_block, which gives ages.
class SiteTable {
 public:
  explicit SiteTable(const Window& window) : window_(window) {}

  // A site that was made but never had a block is left out.
  void add_site(const tm_site_key& key, const tm_site& totals);
  void add_block(const tm_block_key& key, const tm_block& block);
  [[nodiscard]] std::vector<model::CallSite> take() { return std::move(sites_); }

 private:
  struct Hash {
    std::size_t operator()(const tm_site_key& key) const noexcept {
      return key.stack_id ^ (uint64_t{key.owner} << 32) ^ (uint64_t{key.allocator} << 8) ^ key.kind;
    }
  };
  struct Equal {
    bool operator()(const tm_site_key& left, const tm_site_key& right) const noexcept {
      return left.stack_id == right.stack_id && left.owner == right.owner &&
             left.kind == right.kind && left.allocator == right.allocator;
    }
  };

  Window window_;
  std::vector<model::CallSite> sites_;
  std::unordered_map<tm_site_key, std::size_t, Hash, Equal> index_;
};

// A live block more at a call site: its ages.
void add_birth(model::CallSite& site, const Window& window, uint64_t birth_ns);

[[nodiscard]] model::StackEnd to_end(uint32_t end);  // enum tm_stack_end
[[nodiscard]] model::Stack to_stack(model::StackId id, const tm_stack& record);
[[nodiscard]] GenerationState to_generation(model::Generation generation,
                                            const tm_generation& record);

}  // namespace tidemark::sources
