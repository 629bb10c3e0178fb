// SPDX-License-Identifier: Apache-2.0
#include "model/memory_diff.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>

namespace tidemark::model {
namespace {

constexpr double kHourNs = 3600e9;
constexpr double kLongestNs = 9e18;  // beyond it nobody waits, and the 64 bits end

using Id = std::tuple<std::string, std::string, std::string>;

struct Pair {
  uint64_t before = 0;
  uint64_t after = 0;
  std::optional<uint64_t> limit;
};

Id id_of(const Quantity& quantity) {
  return {quantity.area, quantity.name, quantity.key};
}

// What the kernel gives back when memory is short: that it grows uses nothing up.
bool is_given_back(const Growth& growth) {
  constexpr std::array<std::string_view, 4> kRows = {"free", "percpu_free_lists", "file_cache",
                                                     "slab_reclaimable"};
  return growth.area == "memory" && std::ranges::find(kRows, growth.name) != kRows.end();
}

std::map<Id, Pair> pair_up(const MemorySummary& before, const MemorySummary& after) {
  std::map<Id, Pair> pairs;
  for (const Quantity& quantity : before.quantities)
    pairs[id_of(quantity)].before += quantity.bytes;
  for (const Quantity& quantity : after.quantities) {
    Pair& pair = pairs[id_of(quantity)];
    pair.after += quantity.bytes;
    pair.limit = quantity.limit_bytes;
  }
  return pairs;
}

// What is left to grow into: a group's limit, else what the machine has available.
void add_time_left(Growth& growth, const std::optional<uint64_t>& limit,
                   const std::optional<uint64_t>& available) {
  if (!growth.bytes_per_hour || *growth.bytes_per_hour <= 0) return;
  std::optional<uint64_t> left = available;
  growth.time_left_of = "MemAvailable";
  if (limit) {
    left = *limit > growth.after_bytes ? *limit - growth.after_bytes : 0;
    growth.time_left_of = "the limit of the group";
  }
  const double ns =
      left ? static_cast<double>(*left) / *growth.bytes_per_hour * kHourNs : kLongestNs;
  if (ns >= kLongestNs) {
    growth.time_left_of.reset();
    return;
  }
  growth.time_left_ns = static_cast<uint64_t>(ns);
}

// What the first of them has passed came before the comparison begins.
void add_never_seen(const std::vector<MemorySummary>& summaries, std::vector<Passing>& passing) {
  std::map<std::string, Passing> names;
  for (std::size_t at = 1; at < summaries.size(); ++at) {
    for (const PassedName& name : summaries[at].passed) {
      const bool is_new = !names.contains(name.comm);
      Passing& one = names[name.comm];
      if (is_new) {
        one.name = name.comm;
        one.count = 0;
        one.first_seen_unix_ns = summaries[at].taken_unix_ns;
      }
      one.count += name.count;
      one.peak_bytes = std::max(one.peak_bytes, name.peak_rss_bytes);
      one.last_seen_unix_ns = summaries[at].taken_unix_ns;
    }
  }
  for (auto& [comm, one] : names) passing.push_back(std::move(one));
}

std::vector<Passing> find_passing(const std::vector<MemorySummary>& summaries) {
  std::set<Id> at_ends;
  for (const MemorySummary* end : {&summaries.front(), &summaries.back()}) {
    for (const Quantity& quantity : end->quantities) at_ends.insert(id_of(quantity));
  }
  std::map<Id, Passing> passing;
  for (const MemorySummary& summary : summaries) {
    for (const Quantity& quantity : summary.quantities) {
      if (quantity.area != "process" || at_ends.contains(id_of(quantity))) continue;
      Passing& one = passing[id_of(quantity)];
      if (one.name.empty()) one.first_seen_unix_ns = summary.taken_unix_ns;
      one.name = quantity.name;
      one.peak_bytes = std::max(one.peak_bytes, std::optional(quantity.bytes));
      one.last_seen_unix_ns = summary.taken_unix_ns;
    }
  }
  std::vector<Passing> found;
  for (auto& [id, one] : passing) found.push_back(std::move(one));
  add_never_seen(summaries, found);
  std::ranges::stable_sort(found, std::greater(), &Passing::peak_bytes);
  return found;
}

}  // namespace

MemoryDiff compare_memory(const std::vector<MemorySummary>& summaries) {
  const MemorySummary& before = summaries.front();
  const MemorySummary& after = summaries.back();
  MemoryDiff diff;
  diff.before_unix_ns = before.taken_unix_ns;
  diff.after_unix_ns = after.taken_unix_ns;
  if (before.available_bytes && after.available_bytes) {
    diff.available_change_bytes = static_cast<int64_t>(*after.available_bytes) -
                                  static_cast<int64_t>(*before.available_bytes);
  }
  const auto elapsed_ns =
      static_cast<double>(after.taken_unix_ns) - static_cast<double>(before.taken_unix_ns);
  for (const auto& [id, pair] : pair_up(before, after)) {
    if (pair.before == pair.after) continue;
    Growth growth;
    std::tie(growth.area, growth.name, std::ignore) = id;
    growth.before_bytes = pair.before;
    growth.after_bytes = pair.after;
    growth.change_bytes = static_cast<int64_t>(pair.after) - static_cast<int64_t>(pair.before);
    if (elapsed_ns > 0) {
      growth.bytes_per_hour = static_cast<double>(growth.change_bytes) / elapsed_ns * kHourNs;
    }
    if (!is_given_back(growth)) add_time_left(growth, pair.limit, after.available_bytes);
    diff.rows.push_back(std::move(growth));
  }
  std::ranges::stable_sort(diff.rows, std::greater(), &Growth::change_bytes);
  diff.passing = find_passing(summaries);
  return diff;
}

}  // namespace tidemark::model
