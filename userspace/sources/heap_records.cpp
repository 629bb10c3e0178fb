// SPDX-License-Identifier: Apache-2.0
#include "sources/heap_records.h"

#include <algorithm>
#include <cmath>

#include "model/sampling.h"
#include "sources/allocators.h"

namespace tidemark::sources {
namespace {

std::size_t quarter_of(const Window& window, uint64_t birth_ns) {
  const uint64_t span =
      window.taken_ns > window.started_ns ? window.taken_ns - window.started_ns : 1;
  const uint64_t age_in_trace = birth_ns > window.started_ns ? birth_ns - window.started_ns : 0;
  return static_cast<std::size_t>(std::min<uint64_t>(3, age_in_trace / (span / 4 + 1)));
}

uint64_t to_whole(uint64_t weighted_count) {
  return (weighted_count + (1u << (TM_COUNT_PLACES - 1))) >> TM_COUNT_PLACES;
}

// wait(2)'s status as a shell says it: the code, or 128 + signal.
int shell_code(uint32_t status) {
  const uint32_t signal = status & 0x7f;
  return static_cast<int>(signal != 0 ? 128 + signal : (status >> 8) & 0xff);
}

}  // namespace

model::StackEnd to_end(uint32_t end) {
  switch (end) {
    case TM_STACK_BOTTOM:
      return model::StackEnd::kBottom;
    case TM_STACK_DEPTH_LIMIT:
      return model::StackEnd::kDepthLimit;
    default:
      return model::StackEnd::kBroken;
  }
}

void SiteTable::add_site(const tm_site_key& key, const tm_site& totals) {
  if (totals.total_count == 0) return;
  model::CallSite site;
  site.kind = static_cast<model::Kind>(key.kind);
  site.owner = model::Generation{key.owner};
  const std::size_t allocator = key.allocator & ~TM_ALLOCATOR_ALIGNED;
  if (allocator < allocators().size()) {
    const Allocator& row = allocators()[allocator];
    site.allocator = row.name;
    const bool by_size = row.usable != nullptr && (key.allocator & TM_ALLOCATOR_ALIGNED) == 0;
    if (by_size) site.live_usable_bytes = 0;
  }
  site.stack = model::StackId{key.stack_id};
  site.total_bytes = totals.total_bytes;
  site.total_count = totals.total_count;
  // Copied while it changed: what is freed was allocated.
  site.freed_bytes = std::min<uint64_t>(totals.freed_bytes, totals.total_bytes);
  site.freed_count = std::min<uint64_t>(totals.freed_count, totals.total_count);
  if (counts_ == Counts::kWeighted) {
    const uint64_t live = to_whole(totals.total_count - site.freed_count);
    site.total_count = std::max(to_whole(totals.total_count), live);
    site.freed_count = site.total_count - live;
  }
  const auto [place, is_new] = index_.emplace(key, sites_.size());
  if (is_new) {
    sites_.push_back(std::move(site));
  } else {
    model::add_to(sites_[place->second], site);
  }
}

void SiteTable::add_block(const tm_block_key& key, const tm_block& block) {
  model::CallSite* const known = site_of(block.site);
  if (known == nullptr) return;
  model::CallSite& site = *known;
  add_birth(site, window_, block.birth_ns);
  site.sample.most = std::clamp(kMostSampledOfAll / sites_.size(), kLeastSampled,
                                sampled_from_ns_ == 0 ? kMostSampled : kMostSampledInWindows);
  if (block.birth_ns >= sampled_from_ns_) site.sample.offer(to_live(site, key.address, block));
  const model::SampleWeight weight = model::weigh_sample(block.size_bytes, block.interval_bytes);
  site.live_variance += weight.variance;
  if (site.live_usable_bytes) {
    const UsableSize usable = allocators()[block.site.allocator].usable;
    auto room = usable(block.size_bytes, key.address);
    if (room)
      *room = static_cast<uint64_t>(std::llround(static_cast<double>(*room) * weight.count));
    site.live_usable_bytes = model::sum_if_known(site.live_usable_bytes, room);
  }
}

model::LiveBlock SiteTable::to_live(const model::CallSite& site, uint64_t address,
                                    const tm_block& block) const {
  return {.owner = site.owner,
          .address = model::Address{address},
          .size_bytes = block.size_bytes,
          .birth_ns = block.birth_ns,
          .lot = model::draw_lot(window_.started_ns, model::Address{address}, block.birth_ns),
          .aligned = (block.site.allocator & TM_ALLOCATOR_ALIGNED) != 0};
}

void SiteTable::add_live_history(const tm_site_key& key, uint64_t address, const tm_block& block,
                                 const model::BlockHistory& history) {
  if (model::CallSite* const site = site_of(key))
    site->live_histories.push_back({to_live(*site, address, block), history});
}

void SiteTable::add_history(const tm_site_key& key, const model::BlockHistory& history) {
  if (model::CallSite* const site = site_of(key)) site->histories.push_back(history);
}

model::CallSite* SiteTable::site_of(const tm_site_key& key) {
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &sites_[found->second];
}

model::WindowFigures* SiteTable::figures_of(const tm_site_key& key) {
  model::CallSite* const site = site_of(key);
  if (site == nullptr) return nullptr;
  if (!site->windowed) site->windowed.emplace();
  return &*site->windowed;
}

void SiteTable::add_earlier(const tm_site_key& key, const tm_block& block) {
  model::WindowFigures* const figures = figures_of(key);
  if (figures == nullptr) return;
  const model::SampleWeight weight = model::weigh_sample(block.size_bytes, block.interval_bytes);
  figures->earlier_live_bytes += static_cast<uint64_t>(std::llround(weight.bytes));
  figures->earlier_live_count += static_cast<uint64_t>(std::llround(weight.count));
}

void SiteTable::add_earlier_total(const tm_site_key& key, const tm_site& totals) {
  model::WindowFigures* const figures = figures_of(key);
  if (figures == nullptr) return;
  figures->earlier_total_bytes += totals.total_bytes;
  figures->earlier_total_count +=
      counts_ == Counts::kWeighted ? to_whole(totals.total_count) : totals.total_count;
}

void add_birth(model::CallSite& site, const Window& window, uint64_t birth_ns) {
  site.oldest_birth_ns = std::min(site.oldest_birth_ns.value_or(birth_ns), birth_ns);
  site.youngest_birth_ns = std::max(site.youngest_birth_ns.value_or(birth_ns), birth_ns);
  ++site.live_by_quarter[quarter_of(window, birth_ns)];
}

model::Stack to_stack(model::StackId id, const tm_stack& record) {
  model::Stack stack;
  stack.id = id;
  stack.end = to_end(record.end);
  stack.guessed = record.end == TM_STACK_GUESSED;
  const uint32_t depth = std::min<uint32_t>(record.depth, TM_STACK_DEPTH);
  for (uint32_t i = 0; i < depth; ++i) stack.frames.push_back(model::Address{record.frames[i]});
  return stack;
}

GenerationState to_generation(model::Generation generation, const tm_generation& record) {
  GenerationState state;
  state.generation = generation;
  state.pid = model::Pid{static_cast<int32_t>(record.tgid)};
  state.probes_lost = record.by_thread != 0;
  state.by_exec = record.by_exec != 0;
  if (record.parent != 0) state.copy_of = model::Generation{record.parent};
  if (record.life == TM_LIFE_EXECED) state.life = GenerationState::Life::kExeced;
  if (record.life == TM_LIFE_EXITED) {
    state.life = GenerationState::Life::kExited;
    state.exit_code = shell_code(record.exit_code);
  }
  return state;
}

}  // namespace tidemark::sources
