// SPDX-License-Identifier: Apache-2.0
#include "sources/growth_book.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "model/normal.h"
#include "model/sampling.h"
#include "support/mix.h"

namespace tidemark::sources {
namespace {

constexpr std::size_t kMostWaiting = 512;       // 8 MiB
constexpr std::size_t kMostRemembered = 16384;  // each is a page to be looked up for a report
constexpr std::size_t kMostEnded = 256;         // processes whose call sites are kept
constexpr uint64_t kPageBytes = 4096;
// What ends sooner is not looked at; and how often new code is looked for.
constexpr uint64_t kPatienceNs = 1'000'000'000;
// Of what a call site touched, of which it may be unknown which pages those were.
constexpr double kMostUnknown = 0.5;

model::SampleWeight weight_of(const tm_growth_sample& sample) {
  return model::weigh_sample(sample.grown_bytes, sample.interval_bytes);
}

model::GrowthKind kind_of(const tm_growth_sample& sample) {
  switch (sample.kind) {
    case TM_GROWTH_SHMEM:
      return model::GrowthKind::kShared;
    case TM_GROWTH_BRK:
      return model::GrowthKind::kBrk;
    case TM_GROWTH_MMAP:
      return model::GrowthKind::kMmap;
    default:
      return model::GrowthKind::kAnonymous;
  }
}

GrowthIdentity identity_of(const tm_growth_sample& sample) {
  return {sample.tgid, sample.started_boot_ns, sample.mm};
}

// What is known of some pages is taken for all; the others may all be there, or none of them.
void complete_kept(model::GrowthSite& site, double unknown_bytes) {
  const double known_bytes = site.touched_bytes - unknown_bytes;
  if (!site.kept_bytes || unknown_bytes <= 0 || known_bytes <= 0) return;
  const double whole = site.touched_bytes / known_bytes;
  const double share = std::clamp(*site.kept_bytes / known_bytes, 0.0, 1.0);
  const double farthest = std::max(share, 1 - share) * unknown_bytes / model::kStandardErrors95;
  *site.kept_bytes *= whole;
  site.kept_variance = site.kept_variance * whole * whole + farthest * farthest;
}

}  // namespace

void GrowthBook::hear(std::span<const std::byte> record) {
  if (record.size() < sizeof(tm_growth_sample)) return;
  tm_growth_sample sample;
  std::memcpy(&sample, record.data(), sizeof(sample));
  sample.size_bytes = std::min<uint32_t>(sample.size_bytes, TM_RAW_STACK_BYTES);
  const model::Generation generation = owner_of(sample);
  Owner& owner = owners_.at(generation);
  if (owner.ended) return drop(sample, counts_.unwatched);
  if (!owner.learned_ns) return wait(owner, sample);
  take(generation, sample);
}

model::Generation GrowthBook::owner_of(const tm_growth_sample& sample) {
  const GrowthIdentity identity = identity_of(sample);
  const auto [found, is_new] = by_identity_.try_emplace(identity);
  if (is_new) {
    found->second = model::Generation{++last_generation_};
    Owner& owner = owners_[found->second];
    owner.identity = identity;
    owner.first_sample_ns = sample.time_ns;
  }
  return found->second;
}

std::optional<model::Generation> GrowthBook::owner_of(const GrowthIdentity& identity) const {
  const auto found = by_identity_.find(identity);
  if (found == by_identity_.end()) return std::nullopt;
  return found->second;
}

void GrowthBook::drop(const tm_growth_sample& sample, tm_count& count) {
  count.count += 1;
  count.bytes += static_cast<uint64_t>(std::llround(weight_of(sample).bytes));
}

// Where there is no room, the one that waits longest goes: its process had the most time.
void GrowthBook::wait(Owner& owner, const tm_growth_sample& sample) {
  owner.waiting += 1;
  waiting_.push_back(sample);
  if (waiting_.size() <= kMostWaiting) return;
  const tm_growth_sample& oldest = waiting_.front();
  owners_.at(by_identity_.at(identity_of(oldest))).waiting -= 1;
  drop(oldest, counts_.unwatched);
  waiting_.pop_front();
}

std::vector<GrowthBook::Running> GrowthBook::wanted(uint64_t now_ns) const {
  std::vector<Running> wanted;
  for (const auto& [generation, owner] : owners_) {
    if (owner.waiting == 0) continue;
    const uint64_t since = owner.learned_ns.value_or(owner.first_sample_ns);
    if (now_ns < since || now_ns - since < kPatienceNs) continue;
    wanted.push_back({generation, owner.identity});
  }
  return wanted;
}

std::vector<GrowthBook::Running> GrowthBook::running() const {
  std::vector<Running> running;
  for (const auto& [generation, owner] : owners_) {
    if (!owner.ended) running.push_back({generation, owner.identity});
  }
  return running;
}

void GrowthBook::learn(model::Generation generation, uint64_t now_ns) {
  Owner& owner = owners_.at(generation);
  owner.learned_ns = now_ns;
  owner.waiting = 0;
  std::deque<tm_growth_sample> still_waiting;
  for (const tm_growth_sample& sample : std::exchange(waiting_, {})) {
    if (identity_of(sample) == owner.identity) {
      book(generation, sample, walk_sample(generation, sample).stack);
    } else {
      still_waiting.push_back(sample);
    }
  }
  waiting_ = std::move(still_waiting);
}

void GrowthBook::end(const GrowthIdentity& identity) {
  const auto generation = owner_of(identity);
  if (!generation) return;
  Owner& owner = owners_.at(*generation);
  if (std::exchange(owner.ended, true)) return;
  std::erase_if(waiting_, [&](const tm_growth_sample& sample) {
    if (identity_of(sample) != identity) return false;
    drop(sample, counts_.unwatched);
    return true;
  });
  owner.waiting = 0;
  remembered_ -= owner.pages.size();
  owner.pages.clear();
  if (owner.sites.empty()) return forget(*generation);
  ended_.push_back(*generation);
  if (ended_.size() <= kMostEnded) return;
  forget(ended_.front());
  ended_.pop_front();
}

void GrowthBook::forget(model::Generation generation) {
  by_identity_.erase(owners_.at(generation).identity);
  owners_.erase(generation);
}

WalkedStack GrowthBook::walk_sample(model::Generation owner, const tm_growth_sample& sample) const {
  if (sample.pc == 0 || sample.size_bytes == 0) return {};
  // A system call's address is behind its instruction, a fault's is the instruction itself.
  const StackCopy copy{.owner = owner,
                       .pc = {sample.in_syscall != 0 ? sample.pc : sample.pc + 1},
                       .sp = sample.sp,
                       .fp = sample.fp,
                       .start = sample.sp,
                       .bytes = std::as_bytes(std::span(sample.bytes)).first(sample.size_bytes)};
  WalkedStack walked = walk(copy, code_.rule_of);
  // The last step may have led to what is no code.
  auto& frames = walked.stack.frames;
  while (walked.stack.end == model::StackEnd::kBroken && frames.size() > 1 &&
         !code_.rule_of(owner, frames.back())) {
    frames.pop_back();
  }
  return walked;
}

void GrowthBook::take(model::Generation generation, const tm_growth_sample& sample) {
  WalkedStack walked = walk_sample(generation, sample);
  Owner& owner = owners_.at(generation);
  // Code that came since the maps were read.
  if (!walked.complete && sample.time_ns > *owner.learned_ns + kPatienceNs)
    return wait(owner, sample);
  book(generation, sample, std::move(walked.stack));
}

void GrowthBook::book(model::Generation generation, const tm_growth_sample& sample,
                      model::Stack stack) {
  if (stack.frames.empty()) drop(sample, counts_.stacks_lost);
  const std::size_t at = site_of(generation, sample, std::move(stack));
  Owner& owner = owners_.at(generation);
  Site& site = owner.sites[at];
  const model::SampleWeight weight = weight_of(sample);
  site.figures.samples += 1;
  site.figures.touched_bytes += weight.bytes;
  site.figures.touched_variance += weight.variance;
  site.figures.interval_bytes =
      std::max<uint64_t>(site.figures.interval_bytes, sample.interval_bytes);
  if (sample.address != 0) return remember(owner, sample, at);
  site.unknown_bytes += weight.bytes;
}

std::size_t GrowthBook::site_of(model::Generation generation, const tm_growth_sample& sample,
                                model::Stack stack) {
  Owner& owner = owners_.at(generation);
  uint64_t hash = 0;
  for (model::Address frame : stack.frames) {
    if (hash == 0) frame = code_.function_start(generation, frame).value_or(frame);
    hash = mix(hash + 1, frame.value);
  }
  const SiteKey key{hash, kind_of(sample), sample.in_syscall != 0};
  const auto [found, is_new] = owner.by_key.try_emplace(key, owner.sites.size());
  if (!is_new) return found->second;
  Site& site = owner.sites.emplace_back();
  site.figures.owner = generation;
  site.figures.kind = key.kind;
  site.figures.in_syscall = key.in_syscall;
  if (!stack.frames.empty()) {
    stack.id = id_of(stack);
    site.figures.stack = stack.id;
    owner.stacks.try_emplace(stack.id, std::move(stack));
  }
  return found->second;
}

// A page that is touched for the first time again was given back meanwhile.
void GrowthBook::remember(Owner& owner, const tm_growth_sample& sample, std::size_t site) {
  const uint64_t page = sample.address / kPageBytes;
  remembered_ -= owner.pages.erase(page);
  if (std::generate_canonical<double, 53>(random_) >= kept_share_) return;
  const double chance = kept_share_ / weight_of(sample).count;
  owner.pages.emplace(page, Page{site, static_cast<double>(sample.grown_bytes), chance, true});
  if (++remembered_ > kMostRemembered) thin_out();
}

void GrowthBook::thin_out() {
  kept_share_ /= 2;
  remembered_ = 0;
  for (auto& [generation, owner] : owners_) {
    std::erase_if(owner.pages, [this](const auto&) { return (random_() & 1) != 0; });
    for (auto& [number, page] : owner.pages) page.chance /= 2;
    remembered_ += owner.pages.size();
  }
}

std::vector<model::Address> GrowthBook::touched(model::Generation generation) const {
  std::vector<model::Address> addresses;
  const auto owner = owners_.find(generation);
  if (owner == owners_.end()) return addresses;
  for (const auto& [page, sample] : owner->second.pages)
    addresses.push_back(model::Address{page * kPageBytes});
  return addresses;
}

void GrowthBook::settle(model::Generation generation, const std::vector<bool>& in_memory) {
  const auto owner = owners_.find(generation);
  if (owner == owners_.end() || owner->second.pages.size() != in_memory.size()) return;
  std::size_t at = 0;
  for (auto& [page, sample] : owner->second.pages) sample.in_memory = in_memory[at++];
}

void GrowthBook::collect(std::vector<model::GrowthSite>& sites,
                         std::vector<model::Stack>& stacks) const {
  for (const auto& [generation, owner] : owners_) {
    const std::size_t first = sites.size();
    for (const Site& site : owner.sites) {
      sites.push_back(site.figures);
      if (site.unknown_bytes <= kMostUnknown * site.figures.touched_bytes)
        sites.back().kept_bytes = 0;
    }
    for (const auto& [number, page] : owner.pages) {
      model::GrowthSite& site = sites[first + page.site];
      if (!page.in_memory || !site.kept_bytes) continue;
      const double bytes = page.bytes / page.chance;
      *site.kept_bytes += bytes;
      site.kept_variance += bytes * bytes * (1 - page.chance);
    }
    for (std::size_t at = 0; at < owner.sites.size(); ++at)
      complete_kept(sites[first + at], owner.sites[at].unknown_bytes);
    for (const auto& [id, stack] : owner.stacks) stacks.push_back(stack);
  }
  std::ranges::sort(sites, [](const model::GrowthSite& one, const model::GrowthSite& other) {
    const double kept = one.kept_bytes.value_or(one.touched_bytes);
    const double others = other.kept_bytes.value_or(other.touched_bytes);
    if (kept != others) return kept > others;
    return one.touched_bytes > other.touched_bytes;
  });
}

}  // namespace tidemark::sources
