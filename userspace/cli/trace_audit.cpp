// SPDX-License-Identifier: Apache-2.0
#include "cli/trace_audit.h"

#include <algorithm>
#include <map>
#include <set>

#include "audit/process_memory.h"
#include "model/analysis.h"
#include "system/process.h"

namespace tidemark::cli {
namespace {

constexpr std::size_t kMostSites = 64;
constexpr std::size_t kMostProcesses = 64;  // a look, the heaviest call sites' first
constexpr std::size_t kYoungest = 64;
constexpr uint64_t kFirstLookNs = 1'000'000'000;

using SubjectKey = std::pair<model::Generation, std::string>;
using Subjects = std::map<SubjectKey, audit::Subject>;

// The one file of the process that its blocks come from; empty where that is not one.
std::string module_of(const model::Target& target, const std::string& allocator) {
  std::set<std::string> modules;
  for (const model::AllocatorUse& use : target.allocators) {
    if (use.name == allocator && use.hits != 0) modules.insert(use.module);
  }
  return modules.size() == 1 ? *modules.begin() : "";
}

Subjects subjects_of(const model::Snapshot& snapshot) {
  Subjects subjects;
  for (const std::size_t at : model::audit_candidates(snapshot, {}, kMostSites)) {
    const model::CallSite& site = snapshot.call_sites[at];
    for (const model::LiveBlock& block : site.sample.blocks) {
      const SubjectKey key{block.owner, site.allocator};
      if (subjects.size() == kMostProcesses && !subjects.contains(key)) continue;
      subjects[key].blocks.push_back(block);
    }
  }
  return subjects;
}

// In windows the baseline of a block has to be had before the window ends.
constexpr uint64_t kLeastAgeInWindowNs = 10'000'000;

void note_windows(const model::Snapshot& snapshot, Subjects& subjects) {
  if (!snapshot.windows) return;
  const auto& windows = snapshot.windows->windows;
  const bool open = !windows.empty() && windows.back().end_ns == snapshot.taken_ns;
  for (auto& [key, subject] : subjects) {
    subject.min_age_ns = kLeastAgeInWindowNs;
    subject.watched = open;
    std::erase_if(subject.youngest, [&](const model::LiveBlock& block) {
      return !open || block.birth_ns < windows.back().start_ns;
    });
  }
}

// Those of all call sites: a suspect's own may be what is amiss.
void add_youngest(const model::Snapshot& snapshot, Subjects& subjects) {
  for (const model::CallSite& site : snapshot.call_sites) {
    for (const model::LiveBlock& block : site.sample.blocks) {
      const auto subject = subjects.find({block.owner, site.allocator});
      if (subject != subjects.end()) subject->second.youngest.push_back(block);
    }
  }
  for (auto& [key, subject] : subjects) {
    std::ranges::sort(subject.youngest, std::greater{}, &model::LiveBlock::birth_ns);
    subject.youngest.resize(std::min(subject.youngest.size(), kYoungest));
  }
}

}  // namespace

TraceAudit::TraceAudit(bool is_on)
    : is_on_(is_on),
      auditor_(
          audit::Limits{},
          audit::Access{.image = [this](model::Generation owner) -> Result<model::ProcessImage> {
                          return system::read_process(pids_.at(owner));
                        },
                        .memory = [this](model::Generation owner)
                            -> Result<std::unique_ptr<audit::MemoryReader>> {
                          return audit::ProcessMemory::open(pids_.at(owner));
                        }}) {}

void TraceAudit::start(MonotonicTime now) {
  if (!is_on_) return;
  started_ = now;
  next_ = {now.ns + kFirstLookNs};
}

void TraceAudit::look(const model::Snapshot& snapshot, audit::Depth depth, MonotonicTime now) {
  while (next_.ns <= now.ns) next_.ns += next_.ns - started_.ns;
  looked_ = now;
  look_up(snapshot, depth, false, now);
}

void TraceAudit::look_at_new(const model::Snapshot& snapshot, MonotonicTime now) {
  look_up(snapshot, audit::Depth::kQuick, true, now);
}

void TraceAudit::look_up(const model::Snapshot& snapshot, audit::Depth depth, bool only_new,
                         MonotonicTime now) {
  Subjects subjects = subjects_of(snapshot);
  add_youngest(snapshot, subjects);
  note_windows(snapshot, subjects);
  for (const model::Target& target : snapshot.targets) {
    if (!target.alive) auditor_.release(target.generation);
    if (target.alive) pids_[target.generation] = target.pid;
    for (auto& [key, subject] : subjects) {
      if (key.first != target.generation || !target.alive) continue;
      subject.owner = key.first;
      subject.allocator = key.second;
      subject.only_new = only_new;
      subject.module = module_of(target, key.second);
      auditor_.look(subject, depth, now);
    }
  }
}

// What was looked up for this very report holds for it.
void TraceAudit::tell_histories(model::CallSite& site, uint64_t taken_ns) const {
  constexpr double kMostSameByChance = 0.2;
  site.same_by_chance = auditor_.same_by_chance(site.allocator, site.sample.blocks);
  const bool contents_differ = site.same_by_chance.value_or(1) <= kMostSameByChance;
  for (model::LiveHistory& live : site.live_histories) {
    const auto seen = auditor_.seen_of(site.allocator, live.block);
    if (!seen || (seen->verdict == model::AuditVerdict::kUnchanged && !contents_differ)) continue;
    const bool now = seen->at_ns >= looked_.ns;
    live.history.see_audit(seen->verdict, now ? taken_ns : seen->at_ns);
  }
}

void TraceAudit::settle(model::Snapshot& snapshot) const {
  for (const std::size_t at : model::audit_candidates(snapshot, {}, kMostSites)) {
    model::CallSite& site = snapshot.call_sites[at];
    site.audit = auditor_.shares_of(site.allocator, site.sample.blocks);
    tell_histories(site, snapshot.taken_ns);
  }
  for (model::CallSite& site : snapshot.call_sites) site.sample = {};
  if (!is_on_) snapshot.coverage.push_back({"audit", model::HookState::kOff, "--no-audit"});
  std::ranges::move(auditor_.coverage(), std::back_inserter(snapshot.coverage));
  if (auditor_.cost().looks > 0) snapshot.audit_cost = auditor_.cost();
}

}  // namespace tidemark::cli
