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
#include "sources/kernel_owners.h"

namespace tidemark::sources {

// What the page of a live block is found to be. Those that are free were taken off before.
enum class BlockState {
  kSound,      // or not known
  kElsewhere,  // pages that are slab or on the LRU lists: counted there
};

[[nodiscard]] BlockState judge_page(const tm_page_verdict& verdict, bool keep_movable);

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

  // Whether to ask for the packet that the block holds.
  [[nodiscard]] bool is_packet(const tm_kernel_block& block) const;
  // What was asked of a block that is live.
  void add_owner(const tm_kernel_block& block, const tm_owner& answer);

  // Call sites, stacks, tallies; leaves counters, coverage and pages alone.
  void finish(KernelCollected& collected) &&;

 private:
  struct Row {
    model::CallSite site;
    uint64_t call_site = 0;
    std::map<uint64_t, uint64_t> live_by_stack;  // bytes
  };

  [[nodiscard]] model::StackId row_stack(const tm_kernel_place& place, uint64_t stack_id) const;
  [[nodiscard]] std::string cache_name(uint64_t address) const;
  [[nodiscard]] model::Stack stack_of(const Row& row) const;

  Window window_;
  StackMode stacks_mode_;
  std::vector<Row> rows_;
  std::map<model::SiteKey, std::size_t> row_by_key_;
  std::unordered_map<uint64_t, std::size_t> by_site_;
  std::unordered_map<uint64_t, std::vector<uint64_t>> stacks_;
  std::unordered_map<uint64_t, std::string> cache_names_;
  std::map<std::string, model::CacheTally> tallies_;
  std::map<model::StackId, uint64_t> since_;
  std::map<std::size_t, OwnerTally> owners_;  // by row
};

}  // namespace tidemark::sources
