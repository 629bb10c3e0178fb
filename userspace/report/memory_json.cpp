// SPDX-License-Identifier: Apache-2.0
//
// JSON "tidemark.report/1", described in docs/output-schema.md.
#include "report/json_document.h"
#include "report/memory_report.h"

namespace tidemark::report {
namespace {

template <typename Rows, typename ToJson>
Json array_of(const Rows& rows, ToJson to_json) {
  Json array = Json::array();
  for (const auto& row : rows) array.push_back(to_json(row));
  return array;
}

template <typename Rows, typename ToJson>
Json array_or_null(const std::optional<Rows>& rows, ToJson to_json) {
  return rows ? array_of(*rows, to_json) : Json(nullptr);
}

// pid, comm and fd stand in the row itself, as the contract has it.
void add_holder(Json& row, const std::optional<model::Holder>& holder) {
  row["pid"] = holder ? Json(holder->pid.value) : Json(nullptr);
  row["comm"] = holder ? Json(holder->comm) : Json(nullptr);
  row["fd"] = holder && holder->fd ? Json(*holder->fd) : Json(nullptr);
  row["cgroup"] = holder && holder->cgroup ? Json(*holder->cgroup) : Json(nullptr);
}

// --- attribution and ghost

Json attribution_json(const model::AttributionRow& row) {
  return {{"category", row.category}, {"bytes", or_null(row.bytes)}, {"source", row.source}};
}

Json ghost_part_json(const model::GhostPart& part) {
  Json row = {{"maker", part.maker}, {"bytes", part.bytes}};
  add_holder(row, part.holder);
  row["detail"] = part.detail;
  return row;
}

Json error_part_json(const model::ErrorPart& part) {
  return {{"why", part.why}, {"bytes", part.bytes}};
}

Json ghost_json(const model::Ghost& ghost) {
  return {{"bytes", or_null(ghost.bytes)},
          {"error_bytes", or_null(ghost.error_bytes)},
          {"error_parts", array_of(ghost.error_parts, error_part_json)},
          {"explained", array_of(ghost.explained, ghost_part_json)},
          {"unexplained_bytes", or_null(ghost.unexplained_bytes)},
          {"unknown_because", or_null(ghost.unknown_because)}};
}

Json formula_line_json(const model::FormulaLine& line) {
  return {{"name", line.name}, {"bytes", or_null(line.bytes)}};
}

Json formula_json(const model::Attribution& attribution) {
  return {{"seed", array_of(attribution.formula.seed, formula_line_json)},
          {"seed_ghost_bytes", or_null(attribution.formula.seed_ghost)},
          {"corrections", array_of(attribution.formula.corrections, formula_line_json)},
          {"naive_ghost_bytes", or_null(attribution.naive_ghost_bytes)}};
}

// --- the kernel's areas

Json cache_json(const model::SlabCache& cache) {
  return {{"name", cache.name},
          {"aliases", cache.aliases},
          {"merged", !cache.aliases.empty()},
          {"active_objects", cache.active_objects},
          {"objects", cache.objects},
          {"object_size_bytes", cache.object_bytes},
          {"bytes", cache.bytes},
          {"reclaimable", or_null(cache.reclaimable)}};
}

Json kmalloc_json(const model::KmallocClass& kmalloc) {
  return {{"name", kmalloc.name},
          {"bytes", kmalloc.bytes},
          {"active_objects", kmalloc.active_objects},
          {"copies", kmalloc.copies}};
}

Json group_json(const SlabArea::Group& group) {
  return {{"caches", group.caches},
          {"fewest_objects", group.fewest_objects},
          {"most_objects", group.most_objects},
          {"bytes", group.bytes}};
}

Json slab_json(const SlabArea& slab) {
  return {{"bytes", or_null(slab.bytes)},
          {"reclaimable_bytes", or_null(slab.reclaimable_bytes)},
          {"unreclaimable_bytes", or_null(slab.unreclaimable_bytes)},
          {"caches", array_or_null(slab.caches, cache_json)},
          {"kmalloc_classes", array_of(slab.kmalloc, kmalloc_json)},
          {"moving_together", array_of(slab.moving_together, group_json)}};
}

Json caller_json(const model::VmallocCaller& caller) {
  return {{"caller", caller.caller}, {"bytes", caller.bytes}, {"areas", caller.areas}};
}

Json bpf_map_json(const model::BpfMap& map) {
  Json row = {{"id", map.id},
              {"name", map.name},
              {"type", map.type},
              {"bytes", or_null(map.bytes)},
              {"ghost_bytes", map.ghost_bytes}};
  add_holder(row, map.holder);
  return row;
}

// --- sockets and shared memory

Json socket_json(const model::Socket& socket) {
  Json row = {{"family", socket.family},
              {"type", socket.type},
              {"protocol", socket.protocol},
              {"local", socket.local}};
  add_holder(row, socket.holder);
  row["netns"] = socket.netns.value;
  row["inode"] = socket.inode.value;
  row["recv_queue_bytes"] = socket.recv_queue_bytes;
  row["send_queue_bytes"] = socket.send_queue_bytes;
  row["ring_bytes"] = socket.ring_bytes;
  row["ghost_bytes"] = socket.ghost_bytes;
  row["drops"] = or_null(socket.drops);
  row["peer_pid"] = socket.peer_holder ? Json(socket.peer_holder->pid.value) : Json(nullptr);
  row["peer_comm"] = socket.peer_holder ? Json(socket.peer_holder->comm) : Json(nullptr);
  return row;
}

Json protocol_json(const model::ProtocolMemory& protocol) {
  return {{"protocol", protocol.protocol}, {"bytes", protocol.bytes}};
}

Json sockets_json(const MemoryReport& report) {
  uint64_t bytes = 0;
  for (const model::Socket& socket : report.sockets) bytes += socket.bytes();
  return {{"bytes", bytes},
          {"sockets", array_of(report.sockets, socket_json)},
          {"protocols", array_or_null(report.protocols, protocol_json)}};
}

Json file_size_json(const model::FileSize& file) {
  return {{"path", file.path}, {"bytes", file.bytes}};
}

Json mount_json(const model::TmpfsMount& mount) {
  return {{"path", mount.path},
          {"type", mount.fs_type},
          {"mount_namespace", mount.mount_namespace.value},
          {"pid", mount.seen_by.value},
          {"bytes", or_null(mount.bytes)},
          {"largest", array_of(mount.largest, file_size_json)},
          {"walk_complete", mount.walk_complete}};
}

Json held_file_json(const model::HeldFile& file) {
  Json row = {{"name", file.name},
              {"type", file.fs_type},
              {"bytes", file.bytes},
              {"resident_bytes", or_null(file.resident_bytes)}};
  add_holder(row, file.holder);
  return row;
}

Json segment_json(const model::SysvSegment& segment) {
  return {{"id", segment.id},
          {"key", segment.key},
          {"size_bytes", segment.size_bytes},
          {"bytes", segment.resident_bytes},
          {"swap_bytes", segment.swap_bytes},
          {"attached", segment.attached},
          {"creator_pid", segment.creator.value},
          {"creator_comm", or_null(segment.creator_comm)},
          {"last_pid", segment.last_user.value},
          {"uid", segment.owner_uid}};
}

Json tmpfs_json(const ShmemArea& shmem) {
  return {{"shmem_bytes", or_null(shmem.shmem_bytes)},
          {"mounts", array_of(shmem.mounts, mount_json)},
          {"memfds", array_of(shmem.memfds, held_file_json)},
          {"deleted_files", array_of(shmem.deleted_files, held_file_json)},
          {"sysv_segments", array_of(shmem.segments, segment_json)},
          {"unexplained_bytes", or_null(shmem.account.unexplained_bytes)}};
}

// --- processes, groups, swap

Json mapping_json(const model::MemoryMapping& mapping) {
  return {{"start", fmt::format("{:#x}", mapping.start.value)},
          {"size_bytes", mapping.size_bytes},
          {"rss_bytes", or_null(mapping.rss_bytes)},
          {"swap_bytes", or_null(mapping.swap_bytes)},
          {"permissions", mapping.permissions},
          {"path", mapping.path},
          {"flags", mapping.flags}};
}

Json stacks_json(const model::ThreadStacks& stacks) {
  return {{"count", stacks.count}, {"each_bytes", stacks.each_bytes}};
}

Json process_json(const model::ProcessMemory& process) {
  const auto& stacks = process.thread_stacks;
  return {{"pid", process.pid.value},
          {"comm", process.comm},
          {"start_ticks", or_null(process.start_ticks)},
          {"rss_bytes", process.rss_bytes},
          {"rss_anon_bytes", or_null(process.rss_anon_bytes)},
          {"rss_file_bytes", or_null(process.rss_file_bytes)},
          {"rss_shmem_bytes", or_null(process.rss_shmem_bytes)},
          {"pss_bytes", or_null(process.pss_bytes)},
          {"uss_bytes", or_null(process.uss_bytes)},
          {"swap_bytes", or_null(process.swap_bytes)},
          {"virtual_bytes", process.virtual_bytes},
          {"page_table_bytes", or_null(process.page_table_bytes)},
          {"threads", process.threads},
          {"is_32_bit", or_null(process.is_32_bit)},
          {"thread_stack_bytes", stacks ? Json(stacks->total_bytes) : Json(nullptr)},
          {"thread_stacks", stacks ? stacks_json(*stacks) : Json(nullptr)},
          {"largest_mappings", array_of(process.largest_mappings, mapping_json)}};
}

Json passed_json(const model::PassedName& name) {
  return {{"comm", name.comm},
          {"count", name.count},
          {"peak_rss_bytes", or_null(name.peak_rss_bytes)},
          {"pid", name.pid.value}};
}

Json cgroup_json(const model::CgroupMemory& group) {
  return {{"path", group.path},
          {"bytes", or_null(group.current_bytes)},
          {"limit_bytes", or_null(group.limit_bytes)},
          {"kernel_bytes", or_null(group.kernel_bytes)},
          {"slab_bytes", or_null(group.slab_bytes)},
          {"socket_bytes", or_null(group.socket_bytes)},
          {"shmem_bytes", or_null(group.shmem_bytes)},
          {"anon_bytes", or_null(group.anon_bytes)},
          {"file_bytes", or_null(group.file_bytes)}};
}

Json swap_device_json(const model::SwapDevice& device) {
  return {{"name", device.name},
          {"type", device.type},
          {"size_bytes", device.size_bytes},
          {"used_bytes", device.used_bytes}};
}

Json zram_json(const model::ZramDevice& device) {
  return {{"name", device.name},
          {"stored_bytes", device.stored_bytes},
          {"used_bytes", device.used_bytes}};
}

Json swap_json(const MemoryReport& report) {
  return {{"total_bytes", or_null(report.swap_total_bytes)},
          {"free_bytes", or_null(report.swap_free_bytes)},
          {"devices", array_or_null(report.swaps, swap_device_json)},
          {"zram", array_or_null(report.zram, zram_json)}};
}

Json free_blocks_json(const model::FreeBlocks& zone) {
  return {{"node", zone.node}, {"zone", zone.zone}, {"count_by_order", zone.count_by_order}};
}

Json balloon_json(const std::optional<model::Balloon>& balloon) {
  return {{"driver", balloon ? Json(balloon->driver) : Json(nullptr)},
          {"bytes", balloon ? or_null(balloon->bytes) : Json(nullptr)},
          {"in_mem_total", balloon && balloon->place != model::BalloonPlace::kUnknown
                               ? Json(balloon->place == model::BalloonPlace::kInMemTotal)
                               : Json(nullptr)}};
}

Json kill_json(const model::OomKill& kill) {
  return {{"uptime_seconds", or_null(kill.uptime_seconds)},
          {"pid", kill.pid.value},
          {"comm", kill.comm},
          {"in_cgroup", kill.in_cgroup},
          {"total_vm_bytes", or_null(kill.total_vm_bytes)},
          {"anon_rss_bytes", or_null(kill.anon_rss_bytes)}};
}

template <typename Rows, typename ToJson>
void list_or_null(Document& document, std::string_view name, const std::optional<Rows>& rows,
                  ToJson to_json) {
  if (rows) return document.list(name, *rows, to_json);
  document.field(name, nullptr);
}

}  // namespace

std::string write_memory_json(const MemoryReport& report, JsonLines lines) {
  Document document(lines == JsonLines::kOne);
  document.field("schema", "tidemark.report/1");
  document.field("tool_version", report.tool_version);
  document.field("kernel_release", report.kernel_release);
  document.field("taken_unix_ns", report.taken_unix_ns);
  document.field("mem_total_bytes", or_null(report.attribution.mem_total_bytes));
  document.field("mem_available_bytes", or_null(report.mem_available_bytes));
  document.list("attribution", report.attribution.rows, attribution_json);
  document.field("ghost", ghost_json(report.attribution.ghost));
  document.field("formula", formula_json(report.attribution));
  document.field("slab", slab_json(report.slab));
  document.field("vmalloc", {{"bytes", or_null(report.vmalloc.bytes)},
                             {"callers", array_or_null(report.vmalloc.callers, caller_json)}});
  document.field("sockets", sockets_json(report));
  document.field("tmpfs", tmpfs_json(report.shmem));
  document.list("bpf_maps", report.bpf_maps, bpf_map_json);
  list_or_null(document, "processes", report.processes, process_json);
  list_or_null(document, "passed_processes", report.passed, passed_json);
  list_or_null(document, "cgroups", report.cgroups, cgroup_json);
  document.field("swap", swap_json(report));
  list_or_null(document, "free_blocks", report.free_blocks, free_blocks_json);
  document.field("balloon", balloon_json(report.balloon));
  document.list("oom_kills", report.oom_kills, kill_json);
  document.list("verdicts", report.verdicts, verdict_json);
  document.list("coverage", report.coverage, coverage_json);
  return std::move(document).finish();
}

}  // namespace tidemark::report
