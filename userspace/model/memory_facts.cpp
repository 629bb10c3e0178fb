// SPDX-License-Identifier: Apache-2.0
#include "model/memory_facts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "support/units.h"

namespace tidemark::model {

std::optional<uint64_t> meminfo_bytes(const MemoryFacts& facts, std::string_view name) {
  const std::size_t reading = facts.attribution.reading;
  if (reading >= facts.snapshot.readings.size()) return std::nullopt;
  const auto& meminfo = facts.snapshot.readings[reading].meminfo;
  return meminfo ? meminfo->find(name) : std::nullopt;
}

bool is_share(const MemoryFacts& facts, const MemoryPolicy& policy, uint64_t bytes, double share) {
  const auto& total = facts.attribution.mem_total_bytes;
  if (bytes < policy.least_bytes || !total) return false;
  return static_cast<double>(bytes) >= share * static_cast<double>(*total);
}

std::string share_text(const MemoryFacts& facts, uint64_t bytes) {
  const auto& total = facts.attribution.mem_total_bytes;
  if (!total || *total == 0) return "";
  return fmt::format("{:.1f} % of MemTotal",
                     100.0 * static_cast<double>(bytes) / static_cast<double>(*total));
}

std::string holder_text(const std::optional<Holder>& holder) {
  if (!holder) return "no process";
  std::string text = fmt::format("pid {} ({})", holder->pid.value, holder->comm);
  if (holder->fd) text += fmt::format(" fd {}", *holder->fd);
  return text;
}

std::string cache_names(const SlabCache& cache) {
  if (cache.aliases.empty()) return cache.name;
  return fmt::format("{}", fmt::join(cache.aliases, "|"));
}

std::string_view plural(uint64_t count) {
  return count == 1 ? "" : "s";
}

}  // namespace tidemark::model
