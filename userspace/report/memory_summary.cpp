// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <nlohmann/json.hpp>

#include "report/memory_diff_report.h"

namespace tidemark::report {
namespace {

using Json = nlohmann::json;

std::optional<uint64_t> number(const Json& row, const char* field) {
  const auto found = row.find(field);
  if (found == row.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<uint64_t>();
}

std::string text(const Json& row, const char* field) {
  const auto found = row.find(field);
  return found != row.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string number_text(const Json& row, const char* field) {
  const auto found = row.find(field);
  return found != row.end() && found->is_number() ? found->dump() : std::string();
}

// The list at a path of names; null where the document has none.
const Json& at_path(const Json& document, std::string_view path) {
  static const Json kNone;
  const Json* here = &document;
  while (!path.empty()) {
    const auto dot = path.find('.');
    if (!here->is_object()) return kNone;
    const auto found = here->find(path.substr(0, dot));
    if (found == here->end()) return kNone;
    here = &*found;
    path = dot == std::string_view::npos ? std::string_view{} : path.substr(dot + 1);
  }
  return *here;
}

std::string process_name(const Json& row) {
  return fmt::format("{} ({})", text(row, "comm"), number_text(row, "pid"));
}
std::string socket_name(const Json& row) {
  std::string name = fmt::format("{} {} {} {}", text(row, "family"), text(row, "type"),
                                 text(row, "protocol"), text(row, "local"));
  const std::string holder = text(row, "comm");
  return holder.empty() ? name : name + fmt::format(" of {}", process_name(row));
}
uint64_t socket_bytes(const Json& row) {
  return number(row, "recv_queue_bytes").value_or(0) + number(row, "send_queue_bytes").value_or(0) +
         number(row, "ring_bytes").value_or(0);
}
std::optional<uint64_t> bytes_field(const Json& row) {
  return number(row, "bytes");
}

// Which lists hold quantities. A new area of the report that can grow is a row here.
struct Area {
  std::string_view name;
  std::string_view path;
  std::string (*name_of)(const Json& row);
  std::string (*key_of)(const Json& row);
  std::optional<uint64_t> (*bytes_of)(const Json& row);
};
constexpr auto kNoKey = [](const Json&) { return std::string(); };
const std::array kAreas = {
    Area{"memory", "attribution", [](const Json& row) { return text(row, "category"); }, kNoKey,
         bytes_field},
    Area{"ghost", "ghost.explained",
         [](const Json& row) {
           return fmt::format("{} {}", text(row, "maker"), text(row, "detail"));
         },
         [](const Json& row) { return number_text(row, "pid"); }, bytes_field},
    Area{"process", "processes", process_name,
         [](const Json& row) { return number_text(row, "start_ticks"); },
         [](const Json& row) { return number(row, "rss_bytes"); }},
    Area{"slab", "slab.caches", [](const Json& row) { return text(row, "name"); }, kNoKey,
         bytes_field},
    Area{"vmalloc", "vmalloc.callers", [](const Json& row) { return text(row, "caller"); }, kNoKey,
         bytes_field},
    Area{"socket", "sockets.sockets", socket_name,
         [](const Json& row) { return number_text(row, "inode"); },
         [](const Json& row) { return std::optional(socket_bytes(row)); }},
    Area{"tmpfs", "tmpfs.mounts", [](const Json& row) { return text(row, "path"); },
         [](const Json& row) { return number_text(row, "mount_namespace"); }, bytes_field},
    Area{"memfd", "tmpfs.memfds",
         [](const Json& row) {
           return fmt::format("{} of {}", text(row, "name"), process_name(row));
         },
         [](const Json& row) { return number_text(row, "fd"); }, bytes_field},
    Area{"deleted", "tmpfs.deleted_files",
         [](const Json& row) {
           return fmt::format("{} of {}", text(row, "name"), process_name(row));
         },
         [](const Json& row) { return number_text(row, "fd"); }, bytes_field},
    Area{"sysv", "tmpfs.sysv_segments",
         [](const Json& row) { return fmt::format("segment {}", number_text(row, "id")); }, kNoKey,
         bytes_field},
    Area{"bpf_map", "bpf_maps",
         [](const Json& row) { return fmt::format("{} {}", text(row, "type"), text(row, "name")); },
         [](const Json& row) { return number_text(row, "id"); }, bytes_field},
    Area{"cgroup", "cgroups", [](const Json& row) { return text(row, "path"); }, kNoKey,
         bytes_field},
};

void add_area(const Area& area, const Json& document, model::MemorySummary& summary) {
  const Json& rows = at_path(document, area.path);
  if (!rows.is_array()) return;
  for (const Json& row : rows) {
    if (!row.is_object()) continue;
    const auto bytes = area.bytes_of(row);
    if (!bytes) continue;
    summary.quantities.push_back({.area = std::string(area.name),
                                  .name = area.name_of(row),
                                  .key = area.key_of(row),
                                  .bytes = *bytes,
                                  .limit_bytes = number(row, "limit_bytes")});
  }
}

}  // namespace

Result<model::MemorySummary> read_memory_summary(std::string_view document) {
  const Json json = Json::parse(document, nullptr, false);
  if (json.is_discarded()) return fail("it is not one whole JSON document");
  if (!json.is_object() || text(json, "schema") != "tidemark.report/1") {
    return fail("it is not a report of 'tidemark report --json' (schema tidemark.report/1)");
  }
  const auto taken = number(json, "taken_unix_ns");
  if (!taken) return fail("it does not say when it was taken");
  model::MemorySummary summary;
  summary.taken_unix_ns = *taken;
  summary.available_bytes = number(json, "mem_available_bytes");
  for (const Area& area : kAreas) add_area(area, json, summary);
  const Json& ghost = at_path(json, "ghost");
  if (ghost.is_object()) {
    if (const auto bytes = number(ghost, "bytes")) {
      summary.quantities.push_back({"memory", "ghost", "", *bytes, std::nullopt});
    }
  }
  return summary;
}

}  // namespace tidemark::report
