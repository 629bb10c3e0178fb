// SPDX-License-Identifier: Apache-2.0
//
// From the records of bpf/abi/kernel.h to model values. Pure; fed with what the maps hold, asked
// once at the end.
//
// BPF keeps totals by (place, stack). Where a place has a call site it is one row here, however
// many stacks lead to it: its stack is the one that holds most. Places without a call site (pages)
// are told apart by their stacks.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "bpf/abi/kernel.h"
#include "model/site_key.h"
#include "sources/kernel_memory.h"

namespace tidemark::sources {

// What the page of a live block is found to be.
enum class BlockState {
  kSound,      // or not known
  kFreed,      // not the block's any more: its free was missed
  kElsewhere,  // pages that are slab or on the LRU lists: counted there
};

[[nodiscard]] BlockState judge_page(const tm_page_verdict& verdict, bool keep_movable);
// `cache` is what the object was allocated from; 0: not known.
[[nodiscard]] BlockState judge_object(const tm_page_verdict& verdict, uint64_t cache);

class KernelRecords {
 public:
  KernelRecords(const Window& window, StackMode stacks) : window_(window), stacks_mode_(stacks) {}

  // Never 0, which means a stack that was lost; the same in each report of a run.
  [[nodiscard]] static uint64_t place_id(const tm_kernel_place& place);

  // Caches first, then sites, then blocks; stacks at any time.
  void add_cache(uint64_t address, const tm_kernel_cache& record);
  void add_site(uint64_t id, const tm_kernel_site& record);
  void add_stack(uint64_t id, const tm_kernel_stack& record);
  void add_block(const tm_kernel_block& block, BlockState state);
  void note_growing(const tm_kernel_place& place, uint64_t since_ns);

  // Of the cache that the block's site has; 0 where it has none.
  [[nodiscard]] uint64_t cache_of(const tm_kernel_block& block) const;
  // Call sites, stacks, tallies; leaves counters, coverage and pages alone.
  void finish(KernelCollected& collected) &&;

  [[nodiscard]] uint64_t dropped_blocks() const { return dropped_blocks_; }
  [[nodiscard]] uint64_t dropped_bytes() const { return dropped_bytes_; }

 private:
  struct Row {
    model::CallSite site;
    uint64_t cache = 0;
    uint64_t call_site = 0;
    std::map<uint64_t, uint64_t> live_by_stack;  // bytes
  };
  struct Origin {
    std::size_t row = 0;
    uint64_t cache = 0;
  };

  [[nodiscard]] model::StackId row_stack(const tm_kernel_place& place, uint64_t stack_id) const;
  [[nodiscard]] std::string cache_name(uint64_t address) const;
  [[nodiscard]] model::Stack stack_of(const Row& row) const;

  Window window_;
  StackMode stacks_mode_;
  std::vector<Row> rows_;
  std::map<model::SiteKey, std::size_t> row_by_key_;
  std::unordered_map<uint64_t, Origin> by_site_;
  std::unordered_map<uint64_t, std::vector<uint64_t>> stacks_;
  std::unordered_map<uint64_t, std::string> cache_names_;
  std::map<std::string, model::CacheTally> tallies_;
  std::map<model::StackId, uint64_t> since_;
  uint64_t dropped_blocks_ = 0;
  uint64_t dropped_bytes_ = 0;
};

}  // namespace tidemark::sources
