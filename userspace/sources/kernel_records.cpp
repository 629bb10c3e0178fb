// SPDX-License-Identifier: Apache-2.0
#include "sources/kernel_records.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "support/mix.h"

namespace tidemark::sources {
namespace {

constexpr uint64_t kPageBytes = 4096;

std::size_t quarter_of(const Window& window, uint64_t birth_ns) {
  const uint64_t span =
      window.taken_ns > window.started_ns ? window.taken_ns - window.started_ns : 1;
  const uint64_t age_in_trace = birth_ns > window.started_ns ? birth_ns - window.started_ns : 0;
  return static_cast<std::size_t>(std::min<uint64_t>(3, age_in_trace / (span / 4 + 1)));
}

uint64_t bytes_left(const tm_kernel_block& block) {
  return block.remaining_pages != 0 ? block.remaining_pages * kPageBytes : block.size_bytes;
}

model::KernelPlace to_place(const tm_kernel_place& place, std::string cache) {
  model::KernelPlace result;
  result.cache = std::move(cache);
  if (place.kind == TM_KERNEL_PAGE) {
    result.order = place.order;
    result.gfp_flags = place.gfp;
  }
  return result;
}

}  // namespace

BlockState judge_page(const tm_page_verdict& verdict, bool keep_movable) {
  switch (verdict.use) {
    case TM_PAGE_SLAB:
    case TM_PAGE_LARGE_KMALLOC:
      return BlockState::kElsewhere;
    case TM_PAGE_LRU:
      return keep_movable ? BlockState::kSound : BlockState::kElsewhere;
    default:
      return BlockState::kSound;
  }
}

uint64_t KernelRecords::place_id(const tm_kernel_place& place) {
  uint64_t hash = mix(0x632be59bd9b4e019ull, place.call_site);
  hash = mix(hash, place.cache);
  hash = mix(hash, uint64_t{place.gfp} << 32 | uint64_t{place.kind} << 16 | place.order);
  return hash | 1;
}

void KernelRecords::add_cache(uint64_t address, const tm_kernel_cache& record) {
  std::string name(record.name, ::strnlen(record.name, sizeof(record.name)));
  model::CacheTally& tally = tallies_[name];
  tally.cache = name;
  tally.old_frees += record.old_frees;
  cache_names_.emplace(address, std::move(name));
}

std::string KernelRecords::cache_name(uint64_t address) const {
  const auto found = cache_names_.find(address);
  return found == cache_names_.end() ? "" : found->second;
}

model::StackId KernelRecords::row_stack(const tm_kernel_place& place, uint64_t stack_id) const {
  const bool by_place =
      stack_id == 0 || (place.call_site != 0 && stacks_mode_ != StackMode::kAlways);
  return model::StackId{by_place ? place_id(place) : stack_id};
}

void KernelRecords::add_site(uint64_t id, const tm_kernel_site& record) {
  const tm_kernel_place& place = record.place;
  model::CallSite site;
  site.kind = static_cast<model::Kind>(place.kind);
  site.place = to_place(place, cache_name(place.cache));
  site.stack = row_stack(place, record.stack_id);
  site.total_bytes = record.total_bytes;
  site.total_count = record.total_count;
  // Copied while it changed: what is freed was allocated.
  site.freed_bytes = std::min<uint64_t>(record.freed_bytes, record.total_bytes);
  site.freed_count = std::min<uint64_t>(record.freed_count, record.total_count);
  site.live_usable_bytes = 0;
  const uint64_t live_bytes = site.live_bytes();
  if (place.cache != 0 && !site.place.cache.empty()) {
    model::CacheTally& tally = tallies_[site.place.cache];
    tally.live_count += site.live_count();
    tally.freed_count += site.freed_count;
    tally.missed_frees += record.missed_frees;
    tally.dropped_by_verification += record.dropped_frees;
  }
  const auto [found, is_new] = row_by_key_.try_emplace(model::key_of(site), rows_.size());
  if (is_new) {
    rows_.push_back({std::move(site), place.call_site, {}});
  } else {
    model::add_to(rows_[found->second].site, site);
  }
  if (record.stack_id != 0) rows_[found->second].live_by_stack[record.stack_id] += live_bytes;
  by_site_[id] = found->second;
}

void KernelRecords::add_stack(uint64_t id, const tm_kernel_stack& record) {
  const auto depth = std::min<std::size_t>(record.depth, TM_KERNEL_FRAMES);
  std::vector<uint64_t> frames(record.frames, record.frames + depth);
  stacks_.emplace(id, std::move(frames));
}

void KernelRecords::note_growing(const tm_kernel_place& place, uint64_t since_ns) {
  since_[model::StackId{place_id(place)}] = since_ns;
}

void KernelRecords::add_block(const tm_kernel_block& block, BlockState state) {
  const auto found = by_site_.find(block.site_id);
  if (found == by_site_.end()) return;
  model::CallSite& site = rows_[found->second].site;
  const uint64_t bytes = bytes_left(block);
  // Allocated after the totals were read.
  if (site.live_count() == 0 || site.live_bytes() < bytes) return;
  if (state == BlockState::kElsewhere) {
    site.total_bytes -= bytes;
    --site.total_count;
    return;
  }
  site.oldest_birth_ns =
      std::min<uint64_t>(site.oldest_birth_ns.value_or(block.birth_ns), block.birth_ns);
  site.youngest_birth_ns =
      std::max<uint64_t>(site.youngest_birth_ns.value_or(block.birth_ns), block.birth_ns);
  site.live_usable_bytes = site.live_usable_bytes.value_or(0) + bytes + block.spare_bytes;
  ++site.live_by_quarter[quarter_of(window_, block.birth_ns)];
}

bool KernelRecords::is_packet(const tm_kernel_block& block) const {
  const auto found = by_site_.find(block.site_id);
  return found != by_site_.end() && holds_packets(rows_[found->second].site.place.cache);
}

void KernelRecords::add_owner(const tm_kernel_block& block, const tm_owner& answer) {
  const auto found = by_site_.find(block.site_id);
  if (found != by_site_.end()) owners_[found->second].add(answer, bytes_left(block));
}

// Of several stacks the one that holds most stands for all. The hook's own frames come first; where
// the call site is known, the caller's begin with it.
model::Stack KernelRecords::stack_of(const Row& row) const {
  model::Stack stack;
  stack.id = row.site.stack;
  const auto most = std::ranges::max_element(row.live_by_stack, {},
                                             [](const auto& entry) { return entry.second; });
  const auto known = most == row.live_by_stack.end() ? stacks_.end() : stacks_.find(most->first);
  if (known == stacks_.end()) {
    if (row.call_site != 0) stack.frames.push_back(model::Address{row.call_site});
    return stack;
  }
  const std::vector<uint64_t>& frames = known->second;
  stack.end =
      frames.size() < TM_KERNEL_FRAMES ? model::StackEnd::kBottom : model::StackEnd::kDepthLimit;
  auto first = std::ranges::find(frames, row.call_site);
  if (row.call_site == 0) first = frames.begin();
  if (first == frames.end()) {
    stack.end = model::StackEnd::kBroken;
    stack.frames.push_back(model::Address{row.call_site});
  }
  for (; first != frames.end(); ++first) stack.frames.push_back(model::Address{*first});
  return stack;
}

void KernelRecords::finish(KernelCollected& collected) && {
  for (const auto& [row, owners] : owners_) rows_[row].site.owners = owners.finish();
  for (Row& row : rows_) {
    if (row.site.total_count == 0) continue;
    const model::StackId id = row.site.stack;
    collected.stacks.push_back(stack_of(row));
    if (row.live_by_stack.size() > 1) collected.other_stacks[id] = row.live_by_stack.size() - 1;
    if (const auto since = since_.find(id); since != since_.end())
      collected.stacks_since_ns[id] = since->second;
    collected.call_sites.push_back(std::move(row.site));
  }
  for (auto& [name, tally] : tallies_) collected.tallies.push_back(std::move(tally));
}

}  // namespace tidemark::sources
