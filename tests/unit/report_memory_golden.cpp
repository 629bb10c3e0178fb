// SPDX-License-Identifier: Apache-2.0
//
// The memory report's text and JSON against golden files: the hunts of the field notes, and a made
// machine that has something of everything.
#include <doctest/doctest.h>

#include "memory_reports.h"
#include "memory_samples.h"
#include "report/memory_diff_report.h"
#include "report_samples.h"

using namespace tidemark;
using namespace tidemark::report;
using tidemark::report::test::check_golden;

namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;

model::Holder held_by(int32_t pid, std::string comm, int32_t fd) {
  model::Holder holder;
  holder.pid = model::Pid{pid};
  holder.comm = std::move(comm);
  holder.fd = fd;
  holder.cgroup = "/system.slice/" + holder.comm + ".service";
  holder.descriptors = 1;
  return holder;
}

model::Socket packet_ring() {
  model::Socket socket;
  socket.family = "packet";
  socket.type = "raw";
  socket.protocol = "all";
  socket.local = "eth0";
  socket.inode = model::Inode{7001};
  socket.netns = model::Inode{4026531840};
  socket.holder = held_by(812, "sniffer", 5);
  socket.ring_bytes = 12 * kMiB;
  socket.ghost_bytes = 12 * kMiB;
  socket.drops = 17;
  return socket;
}

model::Socket unix_queue() {
  model::Socket socket;
  socket.family = "unix";
  socket.type = "stream";
  socket.protocol = "0";
  socket.local = "/run/log.sock";
  socket.inode = model::Inode{7002};
  socket.netns = model::Inode{4026531840};
  socket.holder = held_by(901, "shipper", 9);
  socket.peer = model::Inode{7003};
  socket.peer_holder = held_by(902, "sink", 4);
  socket.send_queue_bytes = 4 * kMiB;
  socket.ghost_bytes = 3 * kMiB;
  socket.ghost_estimated = true;
  return socket;
}

model::MemoryOwners owners_of_everything() {
  model::MemoryOwners owners;
  owners.path = model::OwnersPath::kIterator;
  owners.sockets = {packet_ring(), unix_queue()};
  owners.holders = {
      {model::GhostMaker::kPipe, kMiB, kMiB, held_by(901, "shipper", 3),
       "pipe 123456, 256 of 256 pages in use"},
      {model::GhostMaker::kNetworkRx, 2 * kMiB, 2 * kMiB, std::nullopt, "page pool 3 of eth0"},
      {model::GhostMaker::kGpu, std::nullopt, 0, held_by(77, "render", 6),
       "client 4 of amdgpu 0000:03:00.0"}};
  owners.bpf_maps = {{4, "events", "ringbuf", kMiB, kMiB, held_by(55, "agent", 11)},
                     {5, "flows", "hash", std::nullopt, 0, std::nullopt}};
  owners.balloon =
      model::Balloon{"virtio_balloon", 0, model::BalloonPlace::kTakenOffMemTotal, "/proc/vmstat"};
  model::TmpfsMount mount;
  mount.path = "/tmp";
  mount.fs_type = "tmpfs";
  mount.device = 41;
  mount.bytes = 8 * kMiB;
  mount.mount_namespace = model::Inode{4026531841};
  mount.seen_by = model::Pid{1};
  mount.largest = {{"/core.4711", 6 * kMiB}, {"/upload", kMiB}};
  owners.tmpfs = {mount};
  model::HeldFile memfd;
  memfd.name = "memfd:frames";
  memfd.fs_type = "tmpfs";
  memfd.inode = model::Inode{31};
  memfd.holder = held_by(77, "render", 8);
  memfd.bytes = memfd.resident_bytes.emplace(10 * kMiB);
  model::HeldFile deleted = memfd;
  deleted.name = "/var/log/access.log";
  deleted.fs_type = "ext4";
  deleted.bytes = 3 * kGiB;
  deleted.resident_bytes = 40 * kMiB;
  owners.memfds = {memfd};
  owners.deleted_files = {deleted};
  model::SysvSegment segment;
  segment.id = 3;
  segment.key = 0x51;
  segment.size_bytes = 16 * kMiB;
  segment.resident_bytes = kMiB;
  segment.creator = model::Pid{600};
  owners.sysv_segments = {segment};
  owners.coverage = {{"iter/task_file", model::HookState::kOn, {}},
                     {"netdev/page-pool", model::HookState::kMissing,
                      "page pools are not told (netlink: Object not found): receive buffers of "
                      "network cards are not listed"}};
  return owners;
}

model::ProcessMemory process(int32_t pid, std::string comm, uint64_t rss_bytes) {
  model::ProcessMemory process;
  process.pid = model::Pid{pid};
  process.comm = std::move(comm);
  process.start_ticks = 100 + static_cast<uint64_t>(pid);
  process.virtual_bytes = 2 * rss_bytes;
  process.rss_bytes = rss_bytes;
  process.threads = 1;
  return process;
}

std::vector<model::ProcessMemory> two_processes() {
  model::ProcessMemory worker = process(4711, "worker", 400 * kMiB);
  worker.rss_anon_bytes = 390 * kMiB;
  worker.rss_file_bytes = 10 * kMiB;
  worker.rss_shmem_bytes = 0;
  worker.pss_bytes = 396 * kMiB;
  worker.uss_bytes = 395 * kMiB;
  worker.swap_bytes = 20 * kMiB;
  worker.page_table_bytes = kMiB;
  worker.threads = 92;
  worker.virtual_bytes = 3500 * kMiB;
  worker.is_32_bit = true;
  worker.thread_stacks = {.count = 91, .each_bytes = 32 * kMiB, .total_bytes = 91 * 32 * kMiB};
  model::MemoryMapping heap;
  heap.start = model::Address{0x8100000};
  heap.size_bytes = 350 * kMiB;
  heap.rss_bytes = 340 * kMiB;
  heap.permissions = "rw-p";
  heap.path = "[heap]";
  heap.flags = {"rd", "wr", "mr", "mw", "me", "ac"};
  worker.largest_mappings = {heap};
  return {worker, process(902, "sink", 12 * kMiB)};
}

std::vector<model::SlabCache> caches() {
  model::SlabCache merged;
  merged.name = "kmalloc-256";
  merged.active_objects = 65'000;
  merged.objects = 65'536;
  merged.object_bytes = 256;
  merged.pages_per_slab = 2;
  merged.slabs = 2048;
  merged.bytes = 16 * kMiB;
  merged.reclaimable = false;
  merged.aliases = {"bio-200", "kmalloc-256", "skbuff_head_cache"};
  model::SlabCache plain;
  plain.name = "dentry";
  plain.active_objects = 400'000;
  plain.objects = 420'000;
  plain.object_bytes = 192;
  plain.pages_per_slab = 1;
  plain.slabs = 20'000;
  plain.bytes = plain.slabs * 4096;
  plain.reclaimable = true;
  return {plain, merged};
}

std::vector<model::CgroupMemory> groups() {
  model::CgroupMemory root;
  root.path = "/";
  root.kernel_bytes = 60 * kMiB;
  model::CgroupMemory group;
  group.path = "/system.slice/sink.service";
  group.current_bytes = 90 * kMiB;
  group.limit_bytes = 128 * kMiB;
  group.kernel_bytes = 70 * kMiB;
  group.slab_bytes = 9 * kMiB;
  group.socket_bytes = 2 * kMiB;
  group.shmem_bytes = 0;
  group.anon_bytes = 12 * kMiB;
  group.file_bytes = kMiB;
  return {root, group};
}

MemoryReport report_of_everything() {
  memory_samples::Sample sample;
  sample.meminfo["Shmem"] = 30 * kMiB;
  model::MemorySnapshot snapshot = sample.snapshot();
  snapshot.taken_ns = 2'000'000'000'000;
  snapshot.processes = two_processes();
  snapshot.slab_caches = caches();
  snapshot.vmalloc = model::VmallocInfo{
      16 * kMiB, 64 * kMiB, true, {{"bpf_map_area_alloc+0x3d/0x50", 12 * kMiB, 3}}};
  snapshot.cgroups = groups();
  snapshot.swaps = {{"/dev/sda2", "partition", 2 * kGiB, 30 * kMiB}};
  snapshot.zram = {{"zram0", 20 * kMiB, 6 * kMiB}};
  snapshot.protocols = {{"TCP", 3 * kMiB}, {"UDP", 0}};
  snapshot.kernel_log =
      model::KernelLog{{{1234.5, model::Pid{4000}, "worker", true, 3 * kGiB, 500 * kMiB}}, 53};
  snapshot.coverage = {
      {"meminfo", model::HookState::kOn, {}},
      {"processes", model::HookState::kOn, "PSS and USS of 1 of 2 processes could not be read"},
      {"slabinfo", model::HookState::kOff, "may not open /proc/slabinfo: run as root to see it"}};
  MemoryReport report = build_memory_report(snapshot, owners_of_everything());
  report.passed = {{"cc1plus", 12, 300 * kMiB, model::Pid{5001}},
                   {"sh", 40, 3 * kMiB, model::Pid{5002}}};
  return report;
}

void check_golden_report(const std::string& name, const MemoryReport& report) {
  check_golden(name + ".txt", write_memory_text(report, {}));
  check_golden(name + ".json", write_memory_json(report, JsonLines::kMany));
}

}  // namespace

TEST_CASE("golden: the field note's slab case") {
  check_golden_report("report_field_slab", report_of("field_slab"));
}

TEST_CASE("golden: the field note's balloon case") {
  check_golden_report("report_field_balloon", report_of("field_balloon"));
}

TEST_CASE("golden: the field note's machine without zoneinfo") {
  check_golden_report("report_field_meminfo", report_of("field_meminfo"));
}

TEST_CASE("golden: something of everything") {
  check_golden_report("report_everything", report_of_everything());
  MemoryTextOptions brief;
  brief.explain = false;
  brief.top = 1;
  check_golden("report_everything_brief.txt", write_memory_text(report_of_everything(), brief));
}

TEST_CASE("golden: a machine that told nothing") {
  check_golden_report("report_nothing", build_memory_report({}, {}));
}

TEST_CASE("golden: what grew between the ends of a series") {
  const auto at = [](uint64_t seconds, uint64_t available,
                     std::vector<model::Quantity> quantities) {
    return model::MemorySummary{
        seconds * 1'000'000'000, available, std::move(quantities), model::Saved::kReport, {}};
  };
  const model::MemoryDiff diff = model::compare_memory(
      {at(0, 4 * kGiB,
          {{"memory", "ghost", "", 20 * kMiB, {}},
           {"slab", "dentry", "", 80 * kMiB, {}},
           {"cgroup", "/system.slice/sink.service", "", 90 * kMiB, 128 * kMiB},
           {"memory", "free", "", kGiB, {}}}),
       at(300, 4 * kGiB, {{"process", "cc1plus (9)", "77", 300 * kMiB, {}}}),
       at(600, 3 * kGiB,
          {{"memory", "ghost", "", 52 * kMiB, {}},
           {"slab", "dentry", "", 60 * kMiB, {}},
           {"cgroup", "/system.slice/sink.service", "", 100 * kMiB, 128 * kMiB},
           {"process", "shipper (901)", "3", 64 * kMiB, {}},
           {"memory", "free", "", kGiB - 96 * kMiB, {}}})});
  check_golden("diff_memory.txt", write_diff_text(diff, {}));
  check_golden("diff_memory.json", write_diff_json(diff));
}
