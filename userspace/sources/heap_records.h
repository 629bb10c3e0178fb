// SPDX-License-Identifier: Apache-2.0
//
// ABI records of heap tracing into model values. Pure.
#pragma once

#include <unordered_map>
#include <vector>

#include "bpf/abi/heap.h"
#include "model/block_history.h"
#include "model/snapshot.h"
#include "sources/source.h"

namespace tidemark::sources {

// Call sites are put in by add_site, then every live block by add_block, which gives ages.
class SiteTable {
 public:
  // Where blocks were sampled the counts of records have TM_COUNT_PLACES binary places.
  enum class Counts { kWhole, kWeighted };

  // `sampled_from_ns`: blocks are drawn for the audit out of those that were born since.
  explicit SiteTable(const Window& window, Counts counts = Counts::kWhole,
                     uint64_t sampled_from_ns = 0)
      : window_(window), counts_(counts), sampled_from_ns_(sampled_from_ns) {}

  // Of each call site some live blocks are kept, so many that all samples together are bounded.
  static constexpr std::size_t kMostSampled = 256;
  static constexpr std::size_t kMostSampledInWindows = 2048;
  static constexpr std::size_t kLeastSampled = 8;
  static constexpr std::size_t kMostSampledOfAll = std::size_t{1} << 19;

  // A site that was made but never had a block is left out.
  void add_site(const tm_site_key& key, const tm_site& totals);
  void add_block(const tm_block_key& key, const tm_block& block);
  // Where probes are there in windows only: what became of a block that one saw; a block that was
  // recorded before windows began; what a call site had allocated by then.
  void add_history(const tm_site_key& key, const model::BlockHistory& history);
  void add_live_history(const tm_site_key& key, uint64_t address, const tm_block& block,
                        const model::BlockHistory& history);
  void add_earlier(const tm_site_key& key, const tm_block& block);
  void add_earlier_total(const tm_site_key& key, const tm_site& totals);
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

  [[nodiscard]] model::LiveBlock to_live(const model::CallSite& site, uint64_t address,
                                         const tm_block& block) const;
  // Null where there is none.
  [[nodiscard]] model::CallSite* site_of(const tm_site_key& key);
  [[nodiscard]] model::WindowFigures* figures_of(const tm_site_key& key);

  Window window_;
  Counts counts_;
  uint64_t sampled_from_ns_;
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
