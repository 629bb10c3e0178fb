// SPDX-License-Identifier: Apache-2.0
#include "readers.h"

#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "elf/image.h"
#include "model/memory_diff.h"
#include "report/memory_diff_report.h"
#include "support/unique_fd.h"
#include "system/cgroup_memory.h"
#include "system/counters.h"
#include "system/fdinfo.h"
#include "system/holders.h"
#include "system/kernel_log.h"
#include "system/kernel_records.h"
#include "system/machine.h"
#include "system/proc_net.h"
#include "system/process.h"
#include "system/process_memory.h"
#include "system/slab.h"
#include "system/sysv_shm.h"
#include "system/tmpfs.h"
#include "system/vmalloc.h"
#include "unwind/frame_table.h"

namespace tidemark::fuzz {
namespace {

using namespace tidemark::system;

constexpr uint64_t kPage = 4096;

void must(bool holds) {
  if (!holds) std::abort();
}

// An error is one line for a person.
template <typename Value>
void check_error(const Result<Value>& result) {
  if (!result) must(!result.error().text.empty());
}

void meminfo(std::string_view text) {
  const auto counters = parse_meminfo(text);
  check_error(counters);
  if (counters) must(counters->find("MemTotal").has_value() && text.ends_with('\n'));
}

void named_values(std::string_view text) {
  const auto counters = parse_named_values(text, "vmstat");
  check_error(counters);
  if (counters) must(!counters->empty());
}

void zoneinfo(std::string_view text) {
  check_error(parse_zoneinfo(text));
}

void slabinfo(std::string_view text) {
  auto caches = parse_slabinfo(text, kPage);
  check_error(caches);
  if (!caches) return;
  std::vector<SlabLink> links;
  for (const model::SlabCache& cache : *caches) {
    must(!cache.name.empty() && cache.bytes % kPage == 0);
    links.push_back({cache.name, ":0000064"});
  }
  add_aliases(*caches, links);
}

void vmallocinfo(std::string_view text) {
  const auto info = parse_vmallocinfo(text, kPage);
  check_error(info);
  if (!info) return;
  must(std::ranges::is_sorted(info->callers, std::greater(), &model::VmallocCaller::bytes));
  for (const model::VmallocCaller& caller : info->callers) must(caller.areas > 0);
}

void process_status(std::string_view text) {
  check_error(parse_memory_status(text));
  static_cast<void>(parse_status(text));
}

void process_stat(std::string_view text) {
  static_cast<void>(parse_start_ticks(text));
}

void smaps(std::string_view text) {
  check_error(parse_proportional_size(text));
  const auto mappings = parse_memory_mappings(text);
  const auto stacks = find_thread_stacks(mappings);
  if (stacks) must(stacks->count >= 2 && stacks->count <= mappings.size());
  static_cast<void>(is_32_bit(mappings));
}

void maps(std::string_view text) {
  static_cast<void>(parse_maps(text));
}

void mountinfo(std::string_view text) {
  static_cast<void>(find_cgroup_mounts(text));
  static_cast<void>(parse_mountinfo(text));
}

void cgroup(std::string_view text) {
  const std::string whole(text);
  const CgroupFiles files{whole, whole, whole, whole};
  static_cast<void>(parse_cgroup(CgroupVersion::kV1, "/", files));
  static_cast<void>(parse_cgroup(CgroupVersion::kV2, "/", files));
  static_cast<void>(parse_memory_cgroup(text));
}

void kernel_log(std::string_view text) {
  static_cast<void>(parse_kernel_log(text));
}

void machine(std::string_view text) {
  check_error(parse_cpu_list(text));
  check_error(parse_swaps(text));
  check_error(parse_zram_mm_stat(text, "zram0"));
  check_error(parse_percpu_first_chunk_pages(text, kPage));
  static_cast<void>(parse_modules(text));
  static_cast<void>(parse_kernel_config(text, "CONFIG_VMAP_STACK"));
}

void sockstat(std::string_view text) {
  check_error(parse_sockstat(text, kPage));
}

void buddyinfo(std::string_view text) {
  check_error(parse_buddyinfo(text));
}

void fdinfo(std::string_view text) {
  static_cast<void>(parse_fd_link(text));
  static_cast<void>(parse_map_id(text));
  static_cast<void>(parse_io_uring(text));
  static_cast<void>(parse_drm(text));
}

void proc_net(std::string_view text) {
  for (const int protocol : {IPPROTO_RAW, IPPROTO_TCP, IPPROTO_UDP}) {
    static_cast<void>(parse_proc_net_inet(text, AF_INET, protocol));
    static_cast<void>(parse_proc_net_inet(text, AF_INET6, protocol));
  }
  static_cast<void>(parse_proc_net_packet(text));
}

void sysvipc(std::string_view text) {
  static_cast<void>(parse_sysv_segments(text));
}

// A place that holds something has a name, or the kernel's own word for one that it does not know.
void check_records(const Result<std::vector<model::KernelRecord>>& records) {
  check_error(records);
  if (!records) return;
  for (const model::KernelRecord& record : *records)
    must(record.line.has_value() == record.file.has_value());
}

void allocinfo(std::string_view text) {
  check_records(parse_allocinfo(text));
}

void page_owner(std::string_view text) {
  check_records(parse_page_owner_stacks(text, kPage));
}

void alloc_traces(std::string_view text) {
  check_records(parse_alloc_traces(text, "filp", 256));
  check_records(parse_alloc_traces(text, "filp", std::nullopt));
}

void saved_report(std::string_view text) {
  const auto summary = report::read_summary(text);
  check_error(summary);
  if (!summary) return;
  const auto diff = model::compare_memory({*summary, *summary});
  must(diff.rows.empty() && diff.passing.empty());
}

// The rules of every address that a file of this size can have code at.
void frame_table(std::string_view bytes) {
  UniqueFd file(::memfd_create("frames", MFD_CLOEXEC));
  must(file.valid());
  const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
  must(written == static_cast<ssize_t>(bytes.size()));
  const auto image = elf::Image::open(std::move(file), "frames");
  check_error(image);
  if (!image) return;
  const auto table = unwind::FrameTable::compile(*image);
  check_error(table);
  if (!table) return;
  for (uint64_t address = 0; address < bytes.size(); ++address) {
    const unwind::FrameRule rule = table->rule_at(elf::Vaddr{address});
    must(rule.cfa <= unwind::Cfa::kSignal && rule.saved_fp <= unwind::SavedFp::kLost);
  }
}

// A new reader is a row, and a directory with at least one file below corpus/.
constexpr std::array kTargets = {
    Target{"meminfo", meminfo},
    Target{"named_values", named_values},
    Target{"zoneinfo", zoneinfo},
    Target{"slabinfo", slabinfo},
    Target{"vmallocinfo", vmallocinfo},
    Target{"process_status", process_status},
    Target{"process_stat", process_stat},
    Target{"smaps", smaps},
    Target{"maps", maps},
    Target{"mountinfo", mountinfo},
    Target{"cgroup", cgroup},
    Target{"kernel_log", kernel_log},
    Target{"machine", machine},
    Target{"sockstat", sockstat},
    Target{"buddyinfo", buddyinfo},
    Target{"fdinfo", fdinfo},
    Target{"proc_net", proc_net},
    Target{"sysvipc", sysvipc},
    Target{"saved_report", saved_report},
    Target{"frame_table", frame_table},
    Target{"allocinfo", allocinfo},
    Target{"page_owner", page_owner},
    Target{"alloc_traces", alloc_traces},
};

}  // namespace

std::span<const Target> targets() {
  return kTargets;
}

}  // namespace tidemark::fuzz
