// SPDX-License-Identifier: Apache-2.0
//
// The small files: processors, swap, zram, sockets, free blocks, percpu, the kernel's config and
// log.
#include "system/machine.h"

#include <doctest/doctest.h>

#include "fixtures.h"
#include "system/cgroup_memory.h"
#include "system/kernel_log.h"

using namespace tidemark;
using namespace tidemark::system;

TEST_CASE("lists of CPUs") {
  CHECK(parse_cpu_list("0-1\n") == 2);
  CHECK(parse_cpu_list("0,2-3,8-11\n") == 7);
  for (const char* bad : {"", "\n", "x", "3-1", "0-", "-", "0-99999999"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_cpu_list(bad).has_value());
  }
}

TEST_CASE("swaps, with and without devices") {
  const auto none = parse_swaps(fixture("linux_6_18/proc/swaps"));
  REQUIRE(none.has_value());
  CHECK(none->empty());
  const auto two = parse_swaps(
      "Filename Type Size Used Priority\n/dev/sda2 partition 1048572 30540 -2\nx file 1 a -3\n");
  REQUIRE(two.has_value());
  REQUIRE(two->size() == 1);
  CHECK(two->front().used_bytes == 30540ull * 1024);
  CHECK_FALSE(parse_swaps("").has_value());
  CHECK_FALSE(parse_swaps("something\n").has_value());
}

TEST_CASE("zram: stored and used") {
  const auto device =
      parse_zram_mm_stat("  4096000  1000000  1228800  0  1228800  5  0  0  0\n", "zram0");
  REQUIRE(device.has_value());
  CHECK(device->stored_bytes == 4096000);
  CHECK(device->used_bytes == 1228800);
  CHECK_FALSE(parse_zram_mm_stat("1 2", "zram0").has_value());
  CHECK_FALSE(parse_zram_mm_stat("", "zram0").has_value());
}

TEST_CASE("sockstat: pages and bytes") {
  const auto protocols = parse_sockstat(
      "sockets: used 11\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 17\nUDP: inuse 0 mem 3\n"
      "FRAG: inuse 0 memory 512\n",
      4096);
  REQUIRE(protocols.has_value());
  REQUIRE(protocols->size() == 3);
  CHECK((*protocols)[0].bytes == 17 * 4096);
  CHECK((*protocols)[2].bytes == 512);
  CHECK(parse_sockstat(fixture("linux_6_18/proc/net/sockstat"), 4096).has_value());
  CHECK_FALSE(parse_sockstat("", 4096).has_value());
}

TEST_CASE("buddyinfo: blocks by order") {
  const auto zones =
      parse_buddyinfo("Node 0, zone   Normal   3214   2106    645\nNode 1, zone x\n");
  REQUIRE(zones.has_value());
  REQUIRE(zones->size() == 1);
  CHECK(zones->front().zone == "Normal");
  CHECK(zones->front().count_by_order == std::vector<uint64_t>{3214, 2106, 645});
  CHECK(parse_buddyinfo(fixture("linux_6_18/proc/buddyinfo"))->size() == 3);
  CHECK_FALSE(parse_buddyinfo("").has_value());
}

TEST_CASE("percpu: the first chunk, as debugfs tells it and as the kernel said at boot") {
  CHECK(parse_percpu_first_chunk_pages(fixture("linux_6_18/sys/kernel/debug/percpu_stats"), 4096) ==
        53);
  CHECK_FALSE(parse_percpu_first_chunk_pages("static_size : 5\n", 4096).has_value());
  const auto log =
      parse_kernel_log("6,339,107591,-;percpu: Embedded 53 pages/cpu s185496 r0 d31592 u1048576\n");
  CHECK(log.percpu_first_chunk_pages_per_cpu == 53);
}

TEST_CASE("kernel config") {
  CHECK(parse_kernel_config("CONFIG_A=y\nCONFIG_VMAP_STACK=y\n", "CONFIG_VMAP_STACK") == true);
  CHECK(parse_kernel_config("CONFIG_A=y\n# CONFIG_VMAP_STACK is not set\n", "CONFIG_VMAP_STACK") ==
        false);
  CHECK_FALSE(parse_kernel_config("", "CONFIG_VMAP_STACK").has_value());
}

TEST_CASE("kernel log: whom the kernel killed for want of memory, new and old wording") {
  const auto log = parse_kernel_log(
      "4,900,5140900,-;Out of memory: Killed process 42102 (nginx: (x)) total-vm:5120000kB, "
      "anon-rss:4194304kB, file-rss:0kB, shmem-rss:0kB\n"
      " SUBSYSTEM=x\n"
      "<4>[12345.678901] Memory cgroup out of memory: Killed process 7 (worker) total-vm:1kB, "
      "anon-rss:2kB\n"
      "[12346.0] Out of memory: Kill process 42102 (nginx) score 900 or sacrifice child\n"
      "[12346.1] Killed process 42102 (nginx) total-vm:8kB, anon-rss:4kB, file-rss:0kB\n"
      "6,1,2,-;nothing of the kind\n");
  REQUIRE(log.oom_kills.size() == 3);
  CHECK(log.oom_kills[0].pid == model::Pid{42102});
  CHECK(log.oom_kills[0].comm == "nginx: (x)");
  CHECK(log.oom_kills[0].anon_rss_bytes == 4194304ull * 1024);
  CHECK(log.oom_kills[0].uptime_seconds.value_or(0) == doctest::Approx(5.1409));
  CHECK_FALSE(log.oom_kills[0].in_cgroup);
  CHECK(log.oom_kills[1].in_cgroup);
  CHECK(log.oom_kills[1].comm == "worker");
  CHECK(log.oom_kills[2].total_vm_bytes == 8 * 1024);
  CHECK(parse_kernel_log("").oom_kills.empty());
}

TEST_CASE("cgroups: where memory is accounted") {
  const auto mounts = find_cgroup_mounts(
      "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
      "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
      "36 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\nbroken\n");
  REQUIRE(mounts.size() == 2);
  CHECK(mounts[0].version == CgroupVersion::kV1);
  CHECK(mounts[0].path == "/sys/fs/cgroup/memory");
  CHECK(mounts[1].version == CgroupVersion::kV2);
}

TEST_CASE("cgroups: version 2, with and without the line for all of the kernel's") {
  const auto group =
      parse_cgroup(CgroupVersion::kV2, "/a",
                   {"anon 4096\nfile 8192\nkernel 12288\nslab 100\nsock 7\nshmem 1\n", "16384\n",
                    "max\n", std::nullopt});
  CHECK(group.anon_bytes == 4096);
  CHECK(group.kernel_bytes == 12288);
  CHECK(group.current_bytes == 16384);
  CHECK(group.socket_bytes == 7);
  CHECK_FALSE(group.limit_bytes.has_value());
  const auto older = parse_cgroup(
      CgroupVersion::kV2, "/a",
      {"anon 1\nkernel_stack 10\nslab 100\npercpu 1000\nsock 5\n", std::nullopt, "65536\n", {}});
  CHECK(older.kernel_bytes == 1115);
  CHECK(older.limit_bytes == 65536);
  CHECK_FALSE(older.current_bytes.has_value());
}

TEST_CASE("cgroups: version 1, where no limit is a very large number") {
  const auto group = parse_cgroup(CgroupVersion::kV1, "/a",
                                  {"cache 1\nrss 2\ntotal_cache 100\ntotal_rss 200\n", "4096\n",
                                   "9223372036854771712\n", "55\n"});
  CHECK(group.anon_bytes == 200);
  CHECK(group.file_bytes == 100);
  CHECK(group.kernel_bytes == 55);
  CHECK_FALSE(group.limit_bytes.has_value());
  CHECK_FALSE(group.slab_bytes.has_value());
}
