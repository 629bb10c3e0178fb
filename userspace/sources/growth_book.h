// SPDX-License-Identifier: Apache-2.0
//
// GrowthBook: samples of growth (bpf/abi/growth.h) become call sites. A sample is walked once the
// code of its process is known; what a process had sampled before it ended unseen is only summed
// up. Each sample stands for 1/p of its bytes, p being the chance that a mark fell into it, so sums
// are right on average whatever the intervals were. Pure but for the functions it is given.
// Single-threaded.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <unordered_map>
#include <vector>

#include "bpf/abi/growth.h"
#include "model/growth.h"
#include "sources/stack_walk.h"

namespace tidemark::sources {

// What is known of the code of processes.
struct GrowthCode {
  RuleOf rule_of;
  // Where the function begins that holds this address, by which a call site is told: a loop touches
  // pages from more than one instruction. None where it has no name.
  std::function<std::optional<model::Address>(model::Generation, model::Address)> function_start;
};

// One address space of a process.
struct GrowthIdentity {
  uint32_t tgid = 0;
  uint64_t started_boot_ns = 0;
  uint64_t mm = 0;
  friend auto operator<=>(const GrowthIdentity&, const GrowthIdentity&) = default;
};

class GrowthBook {
 public:
  GrowthBook(GrowthCode code, uint64_t seed) : code_(std::move(code)), random_(seed) {}

  // A record of the ring buffer; what is cut off is ignored.
  void hear(std::span<const std::byte> record);

  struct Running {
    model::Generation owner;
    GrowthIdentity identity;
  };
  // Processes whose code has to be read before their samples can be walked: those that had the
  // time to become of interest.
  [[nodiscard]] std::vector<Running> wanted(uint64_t now_ns) const;
  // Whether they had or not.
  [[nodiscard]] std::vector<Running> wanted_now() const { return wanted(UINT64_MAX); }
  // The code of this owner is known from here on, as far as it will be for some time.
  void learn(model::Generation owner, uint64_t now_ns);
  // The process has ended, or is another program by now: what waits is not walked any more, and
  // nothing of it is in memory.
  void end(const GrowthIdentity& identity);

  // Which pages are to be looked up, and what of them is in memory still, in the same order. To be
  // asked for each running owner before collect().
  [[nodiscard]] std::vector<model::Address> touched(model::Generation owner) const;
  void settle(model::Generation owner, const std::vector<bool>& in_memory);

  [[nodiscard]] std::vector<Running> running() const;
  // The owner of a process's samples; none where there were none.
  [[nodiscard]] std::optional<model::Generation> owner_of(const GrowthIdentity& identity) const;
  void collect(std::vector<model::GrowthSite>& sites, std::vector<model::Stack>& stacks) const;

  struct Counts {
    tm_count stacks_lost{};
    tm_count unwatched{};
  };
  [[nodiscard]] const Counts& counts() const { return counts_; }

 private:
  struct SiteKey {
    uint64_t stack = 0;
    model::GrowthKind kind = model::GrowthKind::kAnonymous;
    bool in_syscall = false;
    friend auto operator<=>(const SiteKey&, const SiteKey&) = default;
  };
  struct Site {
    model::GrowthSite figures;
    double unknown_bytes = 0;  // of samples of which it is not known which page it was
  };
  // The last sample of a page; `chance` to have been drawn and kept.
  struct Page {
    std::size_t site = 0;
    double bytes = 0;
    double chance = 1;
    bool in_memory = true;
  };
  struct Owner {
    GrowthIdentity identity;
    uint64_t first_sample_ns = 0;
    std::optional<uint64_t> learned_ns;
    std::size_t waiting = 0;
    bool ended = false;
    std::vector<Site> sites;
    std::map<SiteKey, std::size_t> by_key;
    std::unordered_map<model::StackId, model::Stack> stacks;
    std::map<uint64_t, Page> pages;
  };

  [[nodiscard]] model::Generation owner_of(const tm_growth_sample& sample);
  void take(model::Generation generation, const tm_growth_sample& sample);
  void drop(const tm_growth_sample& sample, tm_count& count);
  void wait(Owner& owner, const tm_growth_sample& sample);
  [[nodiscard]] WalkedStack walk_sample(model::Generation generation,
                                        const tm_growth_sample& sample) const;
  void book(model::Generation generation, const tm_growth_sample& sample, model::Stack stack);
  [[nodiscard]] std::size_t site_of(model::Generation generation, const tm_growth_sample& sample,
                                    model::Stack stack);
  void remember(Owner& owner, const tm_growth_sample& sample, std::size_t site);
  void thin_out();
  void forget(model::Generation generation);

  GrowthCode code_;
  std::mt19937_64 random_;
  std::map<GrowthIdentity, model::Generation> by_identity_;
  std::map<model::Generation, Owner> owners_;
  std::deque<tm_growth_sample> waiting_;
  std::deque<model::Generation> ended_;  // that have call sites, oldest first
  std::size_t remembered_ = 0;
  double kept_share_ = 1;  // of the samples that are remembered
  uint32_t last_generation_ = 0;
  Counts counts_;
};

}  // namespace tidemark::sources
