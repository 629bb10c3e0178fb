// SPDX-License-Identifier: Apache-2.0
#include "collect/stack_cleaner.h"

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>

#include "model/site_key.h"
#include "model/stack_index.h"
#include "support/mix.h"

namespace tidemark::collect {
namespace {

// Where the kernel has its trampoline for uretprobes: it stands in for a return address, so it is
// nobody who called.
constexpr std::string_view kUprobesPage = "[uprobes]";

// An id for frames that BPF gave none; only sameness matters.
model::StackId new_id(std::span<const model::Address> frames) {
  uint64_t hash = 0x7469646d;
  for (const model::Address frame : frames) hash = mix(hash, frame.value);
  return model::StackId{hash == 0 ? 1 : hash};
}

using ByFrames = std::map<std::vector<model::Address>, model::StackId>;

ByFrames index_by_frames(const std::vector<model::Stack>& stacks) {
  ByFrames index;
  for (const model::Stack& stack : stacks) index.emplace(stack.frames, stack.id);
  return index;
}

using Candidates = std::vector<const model::Stack*>;

const std::vector<model::Address>& frames_of(const model::Stack* stack) {
  return stack->frames;
}

// The only one of the candidates, which are in the order of their frames, that begins with these.
std::optional<model::StackId> only_continuation(const std::vector<const model::Stack*>& candidates,
                                                const std::vector<model::Address>& frames) {
  const auto begins_alike = [&frames](const model::Stack* other) {
    return other->frames.size() >= frames.size() &&
           std::ranges::equal(frames, std::span(other->frames).first(frames.size()));
  };
  const auto first = std::ranges::lower_bound(candidates, frames, {}, frames_of);
  if (first == candidates.end() || !begins_alike(*first)) return std::nullopt;
  const auto second = std::find_if(first + 1, candidates.end(), [&](const model::Stack* other) {
    return other->id != (*first)->id;
  });
  if (second != candidates.end() && begins_alike(*second)) return std::nullopt;
  return (*first)->id;
}

// Of the same beginning: the whole one; else the one that is known to end there, or to go on.
std::optional<model::StackId> settled_one(const Candidates& whole, const Candidates& cut,
                                          const std::vector<model::Address>& frames) {
  if (const auto found = only_continuation(whole, frames)) return found;
  const auto same = std::ranges::lower_bound(cut, frames, {}, frames_of);
  if (same != cut.end() && (*same)->frames == frames) return (*same)->id;
  return only_continuation(cut, frames);
}

std::size_t code_frames(const CodeRanges& code, const model::Stack& stack) {
  std::size_t count =
      std::min<std::size_t>(1, stack.frames.size());  // the caller was read from the stack itself
  while (count < stack.frames.size() && code.contains(stack.frames[count])) ++count;
  return count;
}

std::vector<model::CallSite> merged(std::vector<model::CallSite> call_sites) {
  std::map<model::SiteKey, model::CallSite> by_key;
  for (model::CallSite& site : call_sites) {
    const auto [place, fresh] = by_key.try_emplace(model::key_of(site), site);
    if (!fresh) add_to(place->second, site);
  }
  std::vector<model::CallSite> result;
  result.reserve(by_key.size());
  for (auto& [key, site] : by_key) result.push_back(std::move(site));
  return result;
}

}  // namespace

void CodeRanges::learn(const model::ProcessImage& image) {
  for (const model::Mapping& mapping : image.mappings) {
    if (!mapping.executable || mapping.path == kUprobesPage) continue;
    model::Address start = mapping.start;
    model::Address end = mapping.end;
    // Swallow what overlaps or touches.
    auto next = ranges_.lower_bound(start);
    if (next != ranges_.begin() && std::prev(next)->second >= start) --next;
    while (next != ranges_.end() && next->first <= end) {
      start = std::min(start, next->first);
      end = std::max(end, next->second);
      next = ranges_.erase(next);
    }
    ranges_[start] = end;
  }
}

bool CodeRanges::contains(model::Address address) const {
  // A return address may be the first behind the code, when a call that never returns is the last
  // instruction.
  auto next = ranges_.upper_bound(address);
  return next != ranges_.begin() && std::prev(next)->second >= address;
}

void clean_stacks(const CodeByOwner& code, std::vector<model::CallSite>& call_sites,
                  std::vector<model::Stack>& stacks) {
  std::unordered_map<model::StackId, std::size_t> index;
  for (std::size_t i = 0; i < stacks.size(); ++i) index.emplace(stacks[i].id, i);
  std::optional<ByFrames> by_frames;  // made when the first stack has to be cut
  for (model::CallSite& site : call_sites) {
    const auto owner = code.find(site.owner);
    const auto found = index.find(site.stack);
    if (owner == code.end() || found == index.end()) continue;
    const model::Stack& stack = stacks[found->second];
    const std::size_t kept = code_frames(owner->second, stack);
    if (kept == stack.frames.size()) continue;
    if (!by_frames) by_frames = index_by_frames(stacks);
    model::Stack clean;
    clean.frames.assign(stack.frames.begin(),
                        stack.frames.begin() + static_cast<std::ptrdiff_t>(kept));
    clean.end = model::StackEnd::kBroken;
    clean.guessed = stack.guessed;
    const auto [same, fresh] = by_frames->emplace(clean.frames, new_id(clean.frames));
    clean.id = same->second;
    site.stack = clean.id;
    if (fresh && index.emplace(clean.id, stacks.size()).second) stacks.push_back(std::move(clean));
  }
  if (by_frames) call_sites = merged(std::move(call_sites));
}

void complete_guessed(std::vector<model::CallSite>& call_sites,
                      const std::vector<model::Stack>& stacks) {
  const model::StackIndex by_id = model::index_stacks(stacks);
  const auto stack_of = [&](const model::CallSite& site) {
    const auto found = by_id.find(site.stack);
    return found == by_id.end() ? nullptr : found->second;
  };
  // By their innermost frame, which all that begin alike share.
  struct Group {
    Candidates whole;
    Candidates cut;
  };
  std::map<std::tuple<model::Generation, model::Kind, std::string, model::Address>, Group> groups;
  const auto group_of = [](const model::CallSite& site, const model::Stack& stack) {
    return std::tuple(site.owner, site.kind, site.allocator, stack.frames.front());
  };
  bool any_guessed = false;
  for (const model::CallSite& site : call_sites) {
    const model::Stack* stack = stack_of(site);
    if (stack == nullptr || stack->frames.empty()) continue;
    any_guessed |= stack->guessed;
    if (stack->guessed) continue;
    Group& group = groups[group_of(site, *stack)];
    (stack->end == model::StackEnd::kBottom ? group.whole : group.cut).push_back(stack);
  }
  if (!any_guessed) return;
  // In the order of their frames, those that begin alike stand side by side: a compiler has tens of
  // thousands of stacks below one function.
  for (auto& [key, group] : groups) {
    std::ranges::sort(group.whole, {}, frames_of);
    std::ranges::sort(group.cut, {}, frames_of);
  }
  for (model::CallSite& site : call_sites) {
    const model::Stack* stack = stack_of(site);
    if (stack == nullptr || !stack->guessed || stack->frames.empty()) continue;
    const Group& group = groups[group_of(site, *stack)];
    site.stack = settled_one(group.whole, group.cut, stack->frames).value_or(site.stack);
  }
  call_sites = merged(std::move(call_sites));
}

}  // namespace tidemark::collect
