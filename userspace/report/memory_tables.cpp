// SPDX-License-Identifier: Apache-2.0
#include "report/memory_tables.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "report/names.h"
#include "support/units.h"

namespace tidemark::report {
namespace {

std::string size_text(const std::optional<uint64_t>& bytes) {
  return bytes ? format_bytes(*bytes) : std::string("unknown");
}

std::string holder_text(const std::optional<model::Holder>& holder) {
  if (!holder) return "-";
  std::string text = fmt::format("pid {} ({})", holder->pid.value, printable(holder->comm));
  if (holder->fd) text += fmt::format(" fd {}", *holder->fd);
  return text;
}

void open_table(Page& page, std::string_view title, std::string_view columns) {
  page.line("");
  page.line(title, Dress::kBold);
  if (!columns.empty()) page.line(columns);
}

template <typename Rows, typename Write>
void write_rows(Page& page, const Rows& rows, std::size_t top, Write write) {
  const std::size_t shown = std::min<std::size_t>(rows.size(), top);
  for (std::size_t at = 0; at < shown; ++at) write(rows[at]);
  if (shown < rows.size()) {
    page.line(fmt::format("  and {} more: --top {} shows them", rows.size() - shown, rows.size()));
  }
}

// A name list that may be long stands under its row, wrapped.
void write_names(Page& page, const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += fmt::format("{}{}", text.empty() ? "" : " | ", printable(name));
  }
  page.labelled("", text);
}

// A file without a name, and who keeps it.
struct FileRow {
  Page& page;
  void operator()(const model::HeldFile& file) const {
    page.line(fmt::format("  {:>11}  {}, held by {}", format_bytes(file.bytes),
                          printable(file.name), holder_text(file.holder)));
  }
};

using HeldFiles = std::vector<model::HeldFile>;

// Those of a tmpfs are shared memory, the others take room on a disk.
std::pair<HeldFiles, HeldFiles> split_deleted(const HeldFiles& files) {
  std::pair<HeldFiles, HeldFiles> split;
  std::ranges::partition_copy(files, std::back_inserter(split.first),
                              std::back_inserter(split.second),
                              [](const model::HeldFile& file) { return file.fs_type == "tmpfs"; });
  return split;
}

}  // namespace

void write_ghost_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options) {
  const model::Ghost& ghost = report.attribution.ghost;
  if (ghost.explained.empty()) return;
  open_table(page, "Ghost memory by owner", "        bytes  maker          holder");
  write_rows(page, ghost.explained, options.top, [&](const model::GhostPart& part) {
    page.line(fmt::format("  {:>11}  {:<14} {}  {}", format_bytes(part.bytes), part.maker,
                          holder_text(part.holder), printable(part.detail)));
  });
  page.line(fmt::format("  {:>11}  unexplained", size_text(ghost.unexplained_bytes)));
}

void write_formula(Page& page, const MemoryReport& report) {
  const model::HandFormula& formula = report.attribution.formula;
  if (formula.seed.empty()) return;
  const auto kib = [](const std::optional<int64_t>& bytes) {
    return bytes ? format_count(static_cast<uint64_t>(std::abs(*bytes)) / 1024) : "unknown";
  };
  const auto write = [&](std::string_view sign, std::string_view name,
                         const std::optional<int64_t>& bytes) {
    const bool negative = bytes.value_or(0) < 0;
    const std::string_view shown = sign == "-" ? (negative ? "+" : "-") : (negative ? "-" : sign);
    page.line(fmt::format("  {} {:>15} kB  {}", shown, kib(bytes), name));
  };
  open_table(page, "The ghost by hand (/proc/meminfo, /proc/zoneinfo)", "");
  page.line(fmt::format("    {:>15} kB  MemTotal",
                        format_count(report.attribution.mem_total_bytes.value_or(0) / 1024)));
  for (const model::FormulaLine& line : formula.seed) write("-", line.name, line.bytes);
  write("=", "what the usual formula says", formula.seed_ghost);
  for (const model::FormulaLine& line : formula.corrections) write("-", line.name, line.bytes);
  std::optional<int64_t> rest = formula.seed_ghost;
  for (const model::FormulaLine& line : formula.corrections) {
    if (rest) *rest -= line.bytes.value_or(0);
  }
  write("=", "ghost", rest);
  page.line(fmt::format("  +/- {:>13} kB  error",
                        format_count(report.attribution.ghost.error_bytes.value_or(0) / 1024)));
}

void write_process_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options) {
  if (!report.processes) return;
  open_table(page, "Processes",
             "      pid          RSS        PSS        USS       swap    virtual  threads  name");
  const auto column = [](const std::optional<uint64_t>& bytes) {
    return bytes ? format_bytes(*bytes) : std::string("-");
  };
  write_rows(page, *report.processes, options.top, [&](const model::ProcessMemory& process) {
    page.line(fmt::format("  {:>7}  {:>11} {:>10} {:>10} {:>10} {:>10} {:>8}  {}",
                          process.pid.value, format_bytes(process.rss_bytes),
                          column(process.pss_bytes), column(process.uss_bytes),
                          column(process.swap_bytes), format_bytes(process.virtual_bytes),
                          process.threads, printable(process.comm)));
  });
  for (const model::ProcessMemory& process : *report.processes) {
    if (!process.thread_stacks || process.thread_stacks->count < 32) continue;
    page.line(fmt::format("  pid {} maps {} thread stacks of {}", process.pid.value,
                          process.thread_stacks->count,
                          format_bytes(process.thread_stacks->each_bytes)));
  }
}

void write_passed_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options) {
  if (!report.passed || report.passed->empty()) return;
  open_table(page, "Processes that came and went since the report before",
             "     peak RSS    count  name");
  write_rows(page, *report.passed, options.top, [&](const model::PassedName& name) {
    page.line(fmt::format("  {:>11} {:>8}  {}", size_text(name.peak_rss_bytes),
                          format_count(name.count), printable(name.comm)));
  });
}

void write_slab_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options) {
  const SlabArea& slab = report.slab;
  if (!slab.bytes && !slab.caches) return;
  open_table(page,
             fmt::format("Slab: {}, reclaimable {}, unreclaimable {}", size_text(slab.bytes),
                         size_text(slab.reclaimable_bytes), size_text(slab.unreclaimable_bytes)),
             slab.caches ? "        bytes       active      objects   size  cache" : "");
  if (slab.caches) {
    write_rows(page, *slab.caches, options.top, [&](const model::SlabCache& cache) {
      const std::string_view kind = cache.reclaimable.value_or(false) ? " (reclaimable)" : "";
      page.line(fmt::format("  {:>11} {:>12} {:>12} {:>6}  {}{}", format_bytes(cache.bytes),
                            format_count(cache.active_objects), format_count(cache.objects),
                            cache.object_bytes,
                            cache.aliases.empty() ? printable(cache.name) : "merged:", kind));
      if (!cache.aliases.empty()) write_names(page, cache.aliases);
    });
  }
  for (const SlabArea::Group& group : slab.moving_together) {
    page.labelled("  together",
                  fmt::format("{}: {} to {} objects each, {} in all", fmt::join(group.caches, ", "),
                              format_count(group.fewest_objects), format_count(group.most_objects),
                              format_bytes(group.bytes)));
  }
  const std::size_t classes = std::min<std::size_t>(slab.kmalloc.size(), 3);
  for (std::size_t at = 0; at < classes; ++at) {
    const model::KmallocClass& kmalloc = slab.kmalloc[at];
    page.line(fmt::format("  {:>11} {:>12} {:>19}  the {} copies of {} together",
                          format_bytes(kmalloc.bytes), format_count(kmalloc.active_objects), "",
                          kmalloc.copies.size(), kmalloc.name));
  }
}

void write_vmalloc_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options) {
  if (!report.vmalloc.callers) return;
  open_table(page, fmt::format("vmalloc: {}", size_text(report.vmalloc.bytes)),
             "        bytes    areas  caller");
  write_rows(page, *report.vmalloc.callers, options.top, [&](const model::VmallocCaller& caller) {
    page.line(fmt::format("  {:>11} {:>8}  {}", format_bytes(caller.bytes),
                          format_count(caller.areas), printable(caller.caller)));
  });
}

void write_bpf_map_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options) {
  if (report.bpf_maps.empty()) return;
  open_table(page, "BPF maps", "        bytes  type             name              holder");
  write_rows(page, report.bpf_maps, options.top, [&](const model::BpfMap& map) {
    page.line(fmt::format("  {:>11}  {:<16} {:<16}  {}", size_text(map.bytes), printable(map.type),
                          printable(map.name), holder_text(map.holder)));
  });
}

void write_socket_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options) {
  if (report.sockets.empty()) return;
  open_table(page, "Sockets",
             "      receive        send        ring  socket                          holder");
  write_rows(page, report.sockets, options.top, [&](const model::Socket& socket) {
    const std::string name = fmt::format("{} {} {} {}", socket.family, socket.type, socket.protocol,
                                         printable(socket.local));
    std::string holder = holder_text(socket.holder);
    if (socket.peer_holder) holder += fmt::format(" -> {}", holder_text(socket.peer_holder));
    page.line(fmt::format(
        "  {:>11} {:>11} {:>11}  {:<30}  {}", format_bytes(socket.recv_queue_bytes),
        format_bytes(socket.send_queue_bytes), format_bytes(socket.ring_bytes), name, holder));
  });
}

void write_shmem_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options) {
  const ShmemArea& shmem = report.shmem;
  if (!shmem.shmem_bytes) return;
  open_table(page,
             fmt::format("Shared memory: {}, of it unexplained {}", size_text(shmem.shmem_bytes),
                         size_text(shmem.account.unexplained_bytes)),
             "");
  auto mounts = shmem.mounts;
  std::erase_if(mounts, [](const model::TmpfsMount& mount) { return mount.bytes == 0; });
  write_rows(page, mounts, options.top, [&](const model::TmpfsMount& mount) {
    page.line(fmt::format("  {:>11}  {} on {}, seen by pid {}", size_text(mount.bytes),
                          mount.fs_type, printable(mount.path), mount.seen_by.value));
    for (const model::FileSize& file : mount.largest) {
      page.line(fmt::format("  {:>11}    {:>11}  {}", "", format_bytes(file.bytes),
                            printable(file.path)));
    }
  });
  const auto [in_memory, on_disk] = split_deleted(shmem.deleted_files);
  write_rows(page, shmem.memfds, options.top, FileRow{page});
  write_rows(page, in_memory, options.top, FileRow{page});
  write_rows(page, shmem.segments, options.top, [&](const model::SysvSegment& segment) {
    page.line(fmt::format("  {:>11}  SysV segment {}, {} attached, made by pid {}{}",
                          format_bytes(segment.resident_bytes + segment.swap_bytes), segment.id,
                          segment.attached, segment.creator.value,
                          segment.creator_comm ? "" : " (gone)"));
  });
  if (on_disk.empty()) return;
  open_table(page, "Deleted files on disk that are still open", "");
  write_rows(page, on_disk, options.top, FileRow{page});
}

void write_cgroup_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options) {
  if (!report.cgroups || report.cgroups->size() < 2) return;
  open_table(page, "Control groups, by kernel memory",
             "       kernel       total       limit  group");
  write_rows(page, *report.cgroups, options.top, [&](const model::CgroupMemory& group) {
    page.line(fmt::format(
        "  {:>11} {:>11} {:>11}  {}", size_text(group.kernel_bytes), size_text(group.current_bytes),
        group.limit_bytes ? format_bytes(*group.limit_bytes) : "none", printable(group.path)));
  });
}

void write_swap_table(Page& page, const MemoryReport& report, const MemoryTextOptions& options) {
  const bool has_swap = report.swaps && !report.swaps->empty();
  const bool has_zram = report.zram && std::ranges::any_of(*report.zram, [](const auto& device) {
                          return device.used_bytes > 0;
                        });
  if (!has_swap && !has_zram) return;
  open_table(page, "Swap", "");
  if (report.swaps) {
    write_rows(page, *report.swaps, options.top, [&](const model::SwapDevice& device) {
      page.line(fmt::format("  {:>11} of {:>11}  {} {}", format_bytes(device.used_bytes),
                            format_bytes(device.size_bytes), device.type, printable(device.name)));
    });
  }
  if (!report.zram) return;
  write_rows(page, *report.zram, options.top, [&](const model::ZramDevice& device) {
    page.line(fmt::format("  {:>11} hold {:>9}  {}", format_bytes(device.used_bytes),
                          format_bytes(device.stored_bytes), device.name));
  });
}

}  // namespace tidemark::report
