// SPDX-License-Identifier: Apache-2.0
#include "system/counters.h"

#include "support/strings.h"
#include "system/host_root.h"

namespace tidemark::system {
namespace {

// In all kernels since 3.10, and down to the last part of the file that has no other mark of its
// end.
constexpr std::string_view kAlwaysThere[] = {
    "MemTotal",       "MemFree",     "Active(anon)", "Inactive(anon)", "Active(file)",
    "Inactive(file)", "Unevictable", "AnonPages",    "Shmem",          "Slab",
    "SReclaimable",   "SUnreclaim",  "KernelStack",  "PageTables",     "VmallocUsed"};

std::optional<uint64_t> meminfo_value(std::string_view text) {
  const auto number = parse_number<uint64_t>(next_word(text));
  if (!number) return std::nullopt;
  const std::string_view unit = next_word(text);
  if (unit.empty()) return number;
  if (unit != "kB" || *number > UINT64_MAX / 1024) return std::nullopt;
  return *number * 1024;
}

// What a zone's section says, until the next "Node" line.
struct ZoneSection {
  bool populated = false;
  bool has_lists = false;
  bool has_end = false;
};

bool is_complete(const ZoneSection& section) {
  return !section.populated || (section.has_lists && section.has_end);
}

}  // namespace

Result<model::Counters> parse_meminfo(std::string_view text) {
  if (auto whole = check_whole(text, "/proc/meminfo"); !whole) {
    return std::unexpected(whole.error());
  }
  model::Counters counters;
  for_each_line(text, [&](std::string_view line) {
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return;
    if (const auto value = meminfo_value(line.substr(colon + 1))) {
      counters.set(line.substr(0, colon), *value);
    }
  });
  for (const std::string_view name : kAlwaysThere) {
    if (!counters.find(name)) return fail("/proc/meminfo is cut off or damaged: no {}", name);
  }
  return counters;
}

Result<model::Counters> parse_named_values(std::string_view text, std::string_view what) {
  if (auto whole = check_whole(text, what); !whole) return std::unexpected(whole.error());
  model::Counters counters;
  for_each_line(text, [&](std::string_view line) {
    const std::string_view name = next_word(line);
    const auto value = parse_number<uint64_t>(trim(line));
    if (!name.empty() && value) counters.set(name, *value);
  });
  if (counters.empty()) return fail("{} holds no line of a name and a number", what);
  return counters;
}

Result<model::ZoneTotals> parse_zoneinfo(std::string_view text) {
  if (auto whole = check_whole(text, "/proc/zoneinfo"); !whole) {
    return std::unexpected(whole.error());
  }
  model::ZoneTotals totals;
  ZoneSection section;
  bool complete = true;
  bool any = false;
  for_each_line(text, [&](std::string_view line) {
    const std::string_view word = next_word(line);
    if (word == "Node") {
      complete = complete && is_complete(section);
      section = {};
      any = true;
    }
    const std::string_view value = trim(line);
    if (word == "present") section.populated = parse_number<uint64_t>(value).value_or(0) > 0;
    if (word.starts_with("start_pfn")) section.has_end = true;
    if (word == "count:") {
      section.has_lists = true;
      totals.per_cpu_list_pages += parse_number<uint64_t>(value).value_or(0);
    }
    if (word == "vm" && value.starts_with("stats threshold:")) {
      const auto colon = value.find(':');
      totals.vmstat_threshold_pages +=
          parse_number<uint64_t>(trim(value.substr(colon + 1))).value_or(0);
    }
  });
  if (!any) return fail("/proc/zoneinfo names no zone");
  if (!complete || !is_complete(section)) return fail("/proc/zoneinfo is cut off inside a zone");
  return totals;
}

}  // namespace tidemark::system
