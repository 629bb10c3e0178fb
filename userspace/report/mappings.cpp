// SPDX-License-Identifier: Apache-2.0
#include "report/mappings.h"

#include <fmt/format.h>

#include <map>

#include "report/names.h"
#include "support/units.h"

namespace tidemark::report {
namespace {

std::string_view plural(uint64_t count) {
  return count == 1 ? "" : "s";
}

std::string memory_text(const std::optional<uint64_t>& bytes) {
  return bytes ? format_bytes(*bytes) + " of it in memory" : "how much is in memory is unknown";
}

// Of one unknown part the sum is unknown.
template <typename Resident, typename Bytes>
void add(std::optional<uint64_t>& sum, const std::optional<Resident>& part, Bytes bytes) {
  if (!part) {
    sum.reset();
  } else if (sum) {
    *sum += bytes(*part);
  }
}

}  // namespace

std::optional<std::string_view> purpose_name(model::Purpose purpose) {
  switch (purpose) {
    case model::Purpose::kNone:
      return std::nullopt;
    case model::Purpose::kThreadStack:
      return "thread_stack";
    case model::Purpose::kCloneStack:
      return "clone_stack";
    case model::Purpose::kStack:
      return "stack";
    case model::Purpose::kFile:
      return "file";
    case model::Purpose::kHeapBacking:
      return "heap_backing";
    case model::Purpose::kLoader:
      return "loader";
  }
  return std::nullopt;
}

std::vector<ApartRow> sum_up_apart(const std::vector<model::CallSite>& sites) {
  std::map<model::Purpose, ApartRow> by_purpose;
  for (const model::CallSite& site : sites) {
    const auto [place, is_new] = by_purpose.try_emplace(site.purpose);
    ApartRow& row = place->second;
    if (is_new) row.resident_bytes = 0;
    row.purpose = site.purpose;
    row.live_bytes += site.live_bytes();
    row.live_count += site.live_count();
    row.total_bytes += site.total_bytes;
    row.total_count += site.total_count;
    add(row.resident_bytes, site.resident, [](const model::Resident& part) { return part.bytes; });
  }
  std::vector<ApartRow> rows;
  for (const auto& [purpose, row] : by_purpose) rows.push_back(row);
  return rows;
}

MappingSums sum_up_mappings(const std::vector<CallSiteRow>& rows) {
  MappingSums sums;
  sums.resident_bytes = 0;
  sums.resident_anonymous_bytes = 0;
  for (const CallSiteRow& row : rows) {
    if (row.kind != model::Kind::kMapping) continue;
    sums.live_bytes += row.live_bytes;
    sums.live_count += row.live_count;
    add(sums.resident_bytes, row.resident, [](const model::Resident& part) { return part.bytes; });
    add(sums.resident_anonymous_bytes, row.resident,
        [](const model::Resident& part) { return part.anonymous_bytes; });
  }
  return sums;
}

std::string describe_mapping(const CallSiteRow& row) {
  std::string text = "mapping";
  if (row.allocator) text += fmt::format(" by {}", printable(*row.allocator));
  switch (row.purpose) {
    case model::Purpose::kThreadStack:
      text += fmt::format(", thread stack{}", plural(row.live_count));
      break;
    case model::Purpose::kCloneStack:
      text += fmt::format(", stack{} given to clone()", plural(row.live_count));
      break;
    case model::Purpose::kStack:
      text += fmt::format(", stack{}", plural(row.live_count));
      break;
    case model::Purpose::kFile:
      text += fmt::format(", of {}", row.live_count == 1 ? "a file" : "files");
      break;
    default:
      break;
  }
  const auto resident = row.resident ? std::optional(row.resident->bytes) : std::nullopt;
  return text + ", " + memory_text(resident);
}

std::string describe_sums(const MappingSums& sums) {
  return fmt::format("of the live bytes {} are address space, in {} mapping{}; {}",
                     format_bytes(sums.live_bytes), format_count(sums.live_count),
                     plural(sums.live_count), memory_text(sums.resident_bytes));
}

std::string describe_apart(const ApartRow& row) {
  const std::string_view whose = row.purpose == model::Purpose::kHeapBacking
                                     ? "made by the allocator for the blocks that are counted here"
                                     : "made by the dynamic linker";
  return fmt::format("not in the sums: {} in {} mapping{} {}; {}", format_bytes(row.live_bytes),
                     format_count(row.live_count), plural(row.live_count), whose,
                     memory_text(row.resident_bytes));
}

}  // namespace tidemark::report
