// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>

#include "report/saved_json.h"

namespace tidemark::report {
namespace {

std::string process_name(const SavedJson& row) {
  return fmt::format("{} ({})", text(row, "comm"), number_text(row, "pid"));
}
std::string socket_name(const SavedJson& row) {
  std::string name = fmt::format("{} {} {} {}", text(row, "family"), text(row, "type"),
                                 text(row, "protocol"), text(row, "local"));
  const std::string holder = text(row, "comm");
  return holder.empty() ? name : name + fmt::format(" of {}", process_name(row));
}
uint64_t socket_bytes(const SavedJson& row) {
  return number(row, "recv_queue_bytes").value_or(0) + number(row, "send_queue_bytes").value_or(0) +
         number(row, "ring_bytes").value_or(0);
}
std::optional<uint64_t> bytes_field(const SavedJson& row) {
  return number(row, "bytes");
}

// Which lists hold quantities. A new area of the report that can grow is a row here.
struct Area {
  std::string_view name;
  std::string_view path;
  std::string (*name_of)(const SavedJson& row);
  std::string (*key_of)(const SavedJson& row);
  std::optional<uint64_t> (*bytes_of)(const SavedJson& row);
};
constexpr auto kNoKey = [](const SavedJson&) { return std::string(); };
const std::array kAreas = {
    Area{"memory", "attribution", [](const SavedJson& row) { return text(row, "category"); },
         kNoKey, bytes_field},
    Area{"ghost", "ghost.explained",
         [](const SavedJson& row) {
           return fmt::format("{} {}", text(row, "maker"), text(row, "detail"));
         },
         [](const SavedJson& row) { return number_text(row, "pid"); }, bytes_field},
    Area{"process", "processes", process_name,
         [](const SavedJson& row) { return number_text(row, "start_ticks"); },
         [](const SavedJson& row) { return number(row, "rss_bytes"); }},
    Area{"slab", "slab.caches", [](const SavedJson& row) { return text(row, "name"); }, kNoKey,
         bytes_field},
    Area{"vmalloc", "vmalloc.callers", [](const SavedJson& row) { return text(row, "caller"); },
         kNoKey, bytes_field},
    Area{"socket", "sockets.sockets", socket_name,
         [](const SavedJson& row) { return number_text(row, "inode"); },
         [](const SavedJson& row) { return std::optional(socket_bytes(row)); }},
    Area{"tmpfs", "tmpfs.mounts", [](const SavedJson& row) { return text(row, "path"); },
         [](const SavedJson& row) { return number_text(row, "mount_namespace"); }, bytes_field},
    Area{"memfd", "tmpfs.memfds",
         [](const SavedJson& row) {
           return fmt::format("{} of {}", text(row, "name"), process_name(row));
         },
         [](const SavedJson& row) { return number_text(row, "fd"); }, bytes_field},
    Area{"deleted", "tmpfs.deleted_files",
         [](const SavedJson& row) {
           return fmt::format("{} of {}", text(row, "name"), process_name(row));
         },
         [](const SavedJson& row) { return number_text(row, "fd"); }, bytes_field},
    Area{"sysv", "tmpfs.sysv_segments",
         [](const SavedJson& row) { return fmt::format("segment {}", number_text(row, "id")); },
         kNoKey, bytes_field},
    Area{"bpf_map", "bpf_maps",
         [](const SavedJson& row) {
           return fmt::format("{} {}", text(row, "type"), text(row, "name"));
         },
         [](const SavedJson& row) { return number_text(row, "id"); }, bytes_field},
    Area{"cgroup", "cgroups", [](const SavedJson& row) { return text(row, "path"); }, kNoKey,
         bytes_field},
};

void add_area(const Area& area, const SavedJson& document, model::MemorySummary& summary) {
  for (const SavedJson* row : rows_at(document, area.path)) {
    const auto bytes = area.bytes_of(*row);
    if (!bytes) continue;
    summary.quantities.push_back({.area = std::string(area.name),
                                  .name = area.name_of(*row),
                                  .key = area.key_of(*row),
                                  .bytes = *bytes,
                                  .limit_bytes = number(*row, "limit_bytes")});
  }
}

// Processes that no report has: of the time since the one before.
void add_passed(const SavedJson& document, model::MemorySummary& summary) {
  for (const SavedJson* row : rows_at(document, "passed_processes")) {
    const auto count = number(*row, "count");
    if (!count) continue;
    summary.passed.push_back({text(*row, "comm"), *count, number(*row, "peak_rss_bytes"), {}});
  }
}

}  // namespace

model::MemorySummary summarize_report(const SavedJson& json) {
  model::MemorySummary summary;
  summary.what = model::Saved::kReport;
  summary.available_bytes = number(json, "mem_available_bytes");
  for (const Area& area : kAreas) add_area(area, json, summary);
  add_passed(json, summary);
  const SavedJson& ghost = at_path(json, "ghost");
  if (ghost.is_object()) {
    if (const auto bytes = number(ghost, "bytes")) {
      summary.quantities.push_back({"memory", "ghost", "", *bytes, std::nullopt});
    }
  }
  return summary;
}

}  // namespace tidemark::report
