// SPDX-License-Identifier: Apache-2.0
//
// The decision tree, rule by rule: what makes each speak, and what keeps it silent.
#include "model/memory_verdicts.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "memory_samples.h"

using namespace tidemark::model;
using namespace memory_samples;

namespace {

std::vector<Finding> judge(const MemorySnapshot& snapshot, const MemoryOwners& owners = {}) {
  const Attribution attribution = attribute(snapshot, owners);
  return judge_memory({snapshot, owners, attribution}, {});
}

const Finding* find(const std::vector<Finding>& findings, std::string_view area) {
  const auto found = std::ranges::find(findings, area, &Finding::area);
  return found == findings.end() ? nullptr : &*found;
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

ProcessMemory process(int pid, const char* comm, uint64_t anon_bytes) {
  ProcessMemory made;
  made.pid = Pid{pid};
  made.comm = comm;
  made.rss_bytes = anon_bytes;
  made.rss_anon_bytes = anon_bytes;
  made.threads = 1;
  return made;
}

Socket socket(const char* family, const char* protocol, uint64_t received, int pid,
              const char* comm) {
  Socket made;
  made.family = family;
  made.type = "raw";
  made.protocol = protocol;
  made.recv_queue_bytes = received;
  made.holder = Holder{.pid = Pid{pid}, .comm = comm, .fd = 10, .cgroup = {}};
  return made;
}

}  // namespace

TEST_CASE("verdicts: a quiet machine gets one word of comfort") {
  const auto findings = judge(Sample().snapshot());
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].severity == Severity::kInfo);
  CHECK(findings[0].area == "all");
}

TEST_CASE("verdicts: nothing known, nothing claimed") {
  const auto findings = judge(MemorySnapshot{});
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].area == "all");
}

TEST_CASE("verdicts: cache that only looks used") {
  Sample sample;
  const uint64_t moved = sample.meminfo["MemFree"] - (200ull << 20);
  sample.meminfo["MemFree"] -= moved;
  sample.meminfo["Inactive(file)"] += moved;
  sample.meminfo["Inactive"] += moved;
  const auto findings = judge(sample.snapshot());
  const Finding* found = find(findings, "cache");
  REQUIRE(found != nullptr);
  CHECK(found->severity == Severity::kInfo);
  CHECK(has(found->what, "only looks used"));
}

TEST_CASE("verdicts: a process that holds a quarter of the machine") {
  MemorySnapshot snapshot = Sample().snapshot();
  snapshot.processes = {process(42102, "nginx", 4ull << 30), process(7, "init", 10 << 20)};
  const auto findings = judge(snapshot);
  const Finding* found = find(findings, "process");
  REQUIRE(found != nullptr);
  CHECK(has(found->what, "pid 42102 (nginx) holds 4.0 GiB, 50.0 % of MemTotal"));
  CHECK(found->next == "tidemark trace -p 42102 --for 1m");
  CHECK(std::ranges::count(findings, "process", &Finding::area) == 1);
}

TEST_CASE("verdicts: 91 thread stacks of 32 MiB use up a 32-bit process") {
  MemorySnapshot snapshot = Sample().snapshot();
  ProcessMemory worker = process(99, "worker", 100 << 20);
  worker.virtual_bytes = 3000ull << 20;
  worker.threads = 96;
  worker.is_32_bit = true;
  worker.thread_stacks = ThreadStacks{91, 32 << 20, 91ull * (32 << 20)};
  snapshot.processes = {worker};
  const auto findings = judge(snapshot);
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].severity == Severity::kCritical);
  CHECK(has(findings[0].what, "32-bit"));
  CHECK(has(findings[0].evidence, "91 thread stacks of 32.0 MiB"));
  CHECK(has(findings[0].next, "stack"));
  // With 64 bits it is only worth a word.
  snapshot.processes->front().is_32_bit = false;
  CHECK(judge(snapshot).front().severity == Severity::kInfo);
}

TEST_CASE("verdicts: slab that cannot be reclaimed, with all names of its caches") {
  Sample sample;
  sample.meminfo["SUnreclaim"] += 2ull << 30;
  sample.meminfo["Slab"] += 2ull << 30;
  sample.meminfo["MemFree"] -= 2ull << 30;
  MemorySnapshot snapshot = sample.snapshot();
  SlabCache cache;
  cache.name = "kmalloc-256";
  cache.bytes = 2ull << 30;
  cache.aliases = {"kmalloc-256", "skbuff_head_cache"};
  snapshot.slab_caches = {cache};
  const auto findings = judge(snapshot);
  const Finding* found = find(findings, "slab");
  REQUIRE(found != nullptr);
  CHECK(has(found->evidence, "kmalloc-256|skbuff_head_cache"));
  CHECK(has(found->next, "slab_nomerge"));
  CHECK(has(found->next, "tidemark kernel --cache kmalloc-256"));
}

TEST_CASE("verdicts: vmalloc by caller") {
  Sample sample;
  sample.meminfo["VmallocUsed"] += 1ull << 30;
  sample.meminfo["MemFree"] -= 1ull << 30;
  sample.vmalloc =
      VmallocInfo{.page_bytes = 1ull << 30, .callers = {{"leak_init+0x1/0x9", 1ull << 30, 3}}};
  const auto findings = judge(sample.snapshot());
  const Finding* found = find(findings, "vmalloc");
  REQUIRE(found != nullptr);
  CHECK(has(found->evidence, "leak_init+0x1/0x9 1.0 GiB in 3 areas"));
}

TEST_CASE("verdicts: sockets that nobody reads, the two field cases and a unix pair") {
  Sample sample;
  sample.owners.sockets = {socket("inet6", "icmpv6", 76755840, 3218, "zebra"),
                           socket("packet", "ppp_disc", 10095232, 17865, "pppd"),
                           socket("inet", "udp", 100'000, 1, "quiet")};
  Socket sender = socket("unix", "0", 0, 5, "writer");
  sender.send_queue_bytes = 64 << 20;
  sender.peer_holder = Holder{.pid = Pid{6}, .comm = "reader", .fd = 4, .cgroup = {}};
  sample.owners.sockets.push_back(sender);
  const auto findings = judge(sample.snapshot(), sample.owners);
  std::vector<std::string> said;
  for (const Finding& finding : findings) {
    if (finding.area == "sockets") said.push_back(finding.what);
  }
  REQUIRE(said.size() == 3);
  CHECK(
      has(said[0], "pid 3218 (zebra) fd 10 does not read its inet6 raw socket (icmpv6): 73.2 MiB"));
  CHECK(has(said[1], "pid 6 (reader) fd 4 does not read"));
  CHECK(has(said[2], "pid 17865 (pppd)"));
}

TEST_CASE("verdicts: a balloon that tells its size, one that does not, one outside MemTotal") {
  Sample sample;
  sample.meminfo["MemFree"] -= 1ull << 30;
  sample.owners.balloon = Balloon{"vmw_balloon", 1ull << 30, BalloonPlace::kInMemTotal, "debugfs"};
  auto findings = judge(sample.snapshot(), sample.owners);
  REQUIRE(find(findings, "balloon") != nullptr);
  CHECK(has(find(findings, "balloon")->what, "vmw_balloon gave 1.0 GiB to the host"));
  REQUIRE(find(findings, "ghost") != nullptr);
  CHECK(has(find(findings, "ghost")->evidence, "balloon 1.0 GiB"));

  sample.owners.balloon->bytes.reset();
  findings = judge(sample.snapshot(), sample.owners);
  REQUIRE(find(findings, "balloon") != nullptr);
  CHECK(has(find(findings, "balloon")->what, "vmw_balloon is loaded, and 1.0 GiB of ghost"));

  sample.owners.balloon->place = BalloonPlace::kTakenOffMemTotal;
  CHECK(find(judge(sample.snapshot(), sample.owners), "balloon") == nullptr);

  sample.owners.balloon.reset();
  MemorySnapshot snapshot = sample.snapshot();
  snapshot.modules = {"ext4", "vmw_balloon"};
  CHECK(find(judge(snapshot), "balloon") != nullptr);
}

TEST_CASE("verdicts: a ghost, and whether its owners are known") {
  Sample sample;
  sample.meminfo["MemFree"] -= 1ull << 30;
  auto findings = judge(sample.snapshot());
  REQUIRE(find(findings, "ghost") != nullptr);
  CHECK(has(find(findings, "ghost")->evidence, "no owner was found"));
  CHECK(has(find(findings, "ghost")->next, "tidemark kernel --pages"));
  sample.owners.holders = {
      {.maker = GhostMaker::kPipe,
       .bytes = 1ull << 30,
       .ghost_bytes = 1ull << 30,
       .holder = Holder{.pid = Pid{8}, .comm = "writer", .fd = {}, .cgroup = {}},
       .detail = ""}};
  findings = judge(sample.snapshot(), sample.owners);
  CHECK(has(find(findings, "ghost")->evidence, "pipe 1.0 GiB of pid 8 (writer)"));
}

TEST_CASE("verdicts: /tmp, nameless files, and segments that nobody is attached to") {
  Sample sample;
  TmpfsMount tmp;
  tmp.path = "/tmp";
  tmp.fs_type = "tmpfs";
  tmp.bytes = 1ull << 30;
  tmp.seen_by = Pid{1};
  tmp.largest = {{"/debug.log", 900ull << 20}};
  sample.owners.tmpfs = {tmp};
  HeldFile file;
  file.name = "memfd:frames";
  file.bytes = 1ull << 30;
  file.holder = Holder{.pid = Pid{3}, .comm = "player", .fd = 4, .cgroup = {}};
  sample.owners.memfds = {file};
  SysvSegment segment;
  segment.id = 17;
  segment.resident_bytes = 16 << 20;
  segment.creator = Pid{55};
  sample.owners.sysv_segments = {segment};
  const auto findings = judge(sample.snapshot(), sample.owners);
  REQUIRE(std::ranges::count(findings, "tmpfs", &Finding::area) == 3);
  CHECK(has(findings[0].what, "Files on /tmp (tmpfs) take 1.0 GiB"));
  CHECK(has(findings[0].evidence, "/debug.log 900.0 MiB"));
  CHECK(has(findings[1].what, "pid 3 (player) fd 4 keeps 1.0 GiB"));
  CHECK(has(findings[2].what, "segment 17 holds 16.0 MiB"));
  CHECK(has(findings[2].evidence, "which is gone"));
  sample.owners.sysv_segments.front().attached = 1;
  CHECK(std::ranges::count(judge(sample.snapshot(), sample.owners), "tmpfs", &Finding::area) == 2);
}

TEST_CASE("verdicts: shared memory in no file that was found") {
  Sample sample;
  for (const char* name : {"Shmem", "Cached", "Inactive(anon)", "Inactive"}) {
    sample.meminfo[name] += 1ull << 30;
  }
  sample.meminfo["MemFree"] -= 1ull << 30;
  const auto findings = judge(sample.snapshot());
  REQUIRE(find(findings, "tmpfs") != nullptr);
  CHECK(has(find(findings, "tmpfs")->what, "in no file, segment or mount"));
}

TEST_CASE("verdicts: kills, limits, swap, page tables, huge pages") {
  Sample sample;
  sample.meminfo["SwapTotal"] = 1ull << 30;
  sample.meminfo["PageTables"] += 1ull << 30;
  sample.meminfo["HugePages_Free"] = 512;
  sample.meminfo["HugePages_Total"] = 512;
  sample.meminfo["Hugetlb"] = 1ull << 30;
  sample.meminfo["MemFree"] -= 2ull << 30;
  MemorySnapshot snapshot = sample.snapshot();
  snapshot.kernel_log.emplace();
  snapshot.kernel_log->oom_kills = {{{}, Pid{1}, "nginx", false, {}, {}},
                                    {5000.0, Pid{2}, "nginx", true, {}, 4ull << 30}};
  CgroupMemory group;
  group.path = "/web";
  group.current_bytes = 98;
  group.limit_bytes = 100;
  snapshot.cgroups = {group};
  const auto findings = judge(snapshot);
  for (const char* area : {"oom", "cgroup", "swap", "page_tables", "hugetlb"}) {
    CAPTURE(area);
    REQUIRE(find(findings, area) != nullptr);
  }
  CHECK(has(find(findings, "oom")->what, "nginx (2 times)"));
  CHECK(has(find(findings, "oom")->evidence, "by the limit of its control group"));
  CHECK(has(find(findings, "cgroup")->what, "/web is at 98 %"));
  CHECK(std::ranges::is_sorted(findings, std::greater(), &Finding::severity));
}

TEST_CASE("verdicts: categories that add up to more than MemTotal are said") {
  Sample sample;
  sample.meminfo["MemFree"] += 1ull << 30;
  const auto findings = judge(sample.snapshot());
  REQUIRE(find(findings, "counting") != nullptr);
  CHECK(find(findings, "counting")->severity == Severity::kInfo);
}
