// SPDX-License-Identifier: Apache-2.0
#include "cli/source_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>

#include "model/stack_index.h"
#include "support/units.h"

namespace tidemark::cli {
namespace {

constexpr Nanoseconds kTimeAtTheEnd = std::chrono::seconds(10);
constexpr int kPartOfInterval = 4;
constexpr Nanoseconds kTimeOfServers = std::chrono::seconds(30);  // in all
constexpr uint64_t kMemoryBytes = 768ull << 20;

// The text shows only some of the call sites, every other format all of them.
std::vector<const model::CallSite*> shown_sites(const model::Snapshot& snapshot,
                                                const TraceOptions& options) {
  std::vector<const model::CallSite*> sites;
  for (const model::CallSite& site : snapshot.call_sites) sites.push_back(&site);
  std::ranges::stable_sort(sites, std::greater<>(), &model::CallSite::live_bytes);
  if (!options.outputs.empty()) return sites;
  std::erase_if(sites, [&](const model::CallSite* site) {
    const uint64_t born = site->oldest_birth_ns.value_or(snapshot.taken_ns);
    return site->live_count() == 0 ||
           snapshot.taken_ns < std::min(born, snapshot.taken_ns) + options.text.min_age_ns;
  });
  sites.resize(std::min(sites.size(), options.text.top));
  return sites;
}

std::vector<model::Coverage> coverage_of(const std::vector<symbolize::UnreadLines>& unread) {
  struct Sum {
    std::size_t files = 0;
    std::size_t places = 0;
    std::string first;
  };
  std::map<std::string, Sum> by_reason;
  for (const symbolize::UnreadLines& each : unread) {
    Sum& sum = by_reason[each.reason];
    if (sum.files++ == 0) sum.first = each.path;
    sum.places += each.places;
  }
  std::vector<model::Coverage> rows;
  for (const auto& [reason, sum] : by_reason) {
    const std::string others = sum.files == 1 ? "" : fmt::format(" and {} more", sum.files - 1);
    rows.push_back({"source_lines", model::HookState::kOff,
                    fmt::format("{}{}: {}; {} place{} without a line", sum.first, others, reason,
                                sum.places, sum.places == 1 ? " is" : "s are")});
  }
  return rows;
}

}  // namespace

Status use_debuginfod(symbolize::ProcessSymbolizer& symbolizer) {
  auto servers = elf::Debuginfod::open(kTimeOfServers);
  if (!servers) return within("--debuginfod", servers.error());
  symbolizer.use(*std::move(servers));
  return {};
}

std::vector<model::Coverage> learn_source_lines(symbolize::ProcessSymbolizer& symbolizer,
                                                const model::Snapshot& snapshot,
                                                const TraceOptions& options, bool is_last,
                                                MonotonicTime now) {
  const model::StackIndex by_id = model::index_stacks(snapshot.stacks);
  std::vector<symbolize::StackToName> stacks;
  for (const model::CallSite* site : shown_sites(snapshot, options)) {
    const auto stack = by_id.find(site->stack);
    if (stack != by_id.end()) stacks.push_back({site->owner, stack->second->frames});
  }
  return learn_source_lines(symbolizer, stacks, options, is_last, now);
}

std::vector<model::Coverage> learn_source_lines(symbolize::ProcessSymbolizer& symbolizer,
                                                const std::vector<symbolize::StackToName>& stacks,
                                                const TraceOptions& options, bool is_last,
                                                MonotonicTime now) {
  Nanoseconds time = kTimeAtTheEnd;
  if (!is_last && options.interval) time = std::min(time, *options.interval / kPartOfInterval);
  const MonotonicTime deadline{now.ns + static_cast<uint64_t>(time.count())};
  auto rows = coverage_of(symbolizer.learn_lines(stacks, {deadline, kMemoryBytes}));
  if (symbolizer.servers_are_over()) {
    rows.push_back({"debuginfod", model::HookState::kOff,
                    fmt::format("the time for its servers ({}) is over: debug files that were not "
                                "found by then are missing",
                                format_duration(kTimeOfServers))});
  }
  return rows;
}

report::StackNames names_of(symbolize::ProcessSymbolizer& symbolizer,
                            std::span<const model::Stack> stacks) {
  return [&symbolizer, by_id = model::index_stacks(stacks)](
             model::Generation owner, model::StackId id) -> std::vector<model::Frame> {
    const auto stack = by_id.find(id);
    if (stack == by_id.end()) return {};
    return symbolizer.frames(owner, stack->second->frames);
  };
}

}  // namespace tidemark::cli
