// SPDX-License-Identifier: Apache-2.0
#include "sources/heap_records.h"

#include <algorithm>

#include "sources/allocators.h"

namespace tidemark::sources {
namespace {

std::size_t quarter_of(const Window& window, uint64_t birth_ns) {
  const uint64_t span =
      window.taken_ns > window.started_ns ? window.taken_ns - window.started_ns : 1;
  const uint64_t age_in_trace = birth_ns > window.started_ns ? birth_ns - window.started_ns : 0;
  return static_cast<std::size_t>(std::min<uint64_t>(3, age_in_trace / (span / 4 + 1)));
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
  const auto [place, is_new] = index_.emplace(key, sites_.size());
  if (is_new) {
    sites_.push_back(std::move(site));
  } else {
    model::add_to(sites_[place->second], site);
  }
}

void SiteTable::add_block(const tm_block_key& key, const tm_block& block) {
  const auto found = index_.find(block.site);
  if (found == index_.end()) return;
  model::CallSite& site = sites_[found->second];
  add_birth(site, window_, block.birth_ns);
  if (site.live_usable_bytes) {
    const UsableSize usable = allocators()[block.site.allocator].usable;
    site.live_usable_bytes =
        model::sum_if_known(site.live_usable_bytes, usable(block.size_bytes, key.address));
  }
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
