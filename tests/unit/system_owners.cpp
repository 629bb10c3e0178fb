// SPDX-License-Identifier: Apache-2.0
//
// The small readers behind MemoryOwners on literal text: balloons of four drivers, trace buffers,
// SysV segments, mounts, cgroups, /proc/net. The texts of VMware, Hyper-V and Xen follow the
// formats in their drivers' sources; no such machine was at hand.
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "scratch.h"
#include "system/balloon.h"
#include "system/file_systems.h"
#include "system/holders.h"
#include "system/kernel_buffers.h"
#include "system/namespaces.h"
#include "system/proc_net.h"
#include "system/sysv_shm.h"
#include "system/tmpfs.h"

using namespace tidemark;
using namespace tidemark::system;

TEST_CASE("balloon: /proc/vmstat with and without nr_balloon_pages") {
  const auto now = parse_balloon_counters(
      "nr_free_pages 5\nnr_balloon_pages 131072\nballoon_inflate 200000\nballoon_deflate 68928\n"
      "balloon_migrate 0\n");
  CHECK(now.now == 131072);
  CHECK(now.by_moves == 131072);
  const auto before = parse_balloon_counters("balloon_inflate 300\nballoon_deflate 44\n");
  CHECK_FALSE(before.now);
  CHECK(before.by_moves == 256);
}

TEST_CASE("balloon: counters that cannot be are none") {
  CHECK_FALSE(parse_balloon_counters("").now);
  CHECK_FALSE(parse_balloon_counters("").by_moves);
  CHECK_FALSE(parse_balloon_counters("balloon_inflate 300\n").by_moves);
  CHECK_FALSE(parse_balloon_counters("balloon_inflate 1\nballoon_deflate 2\n").by_moves);
  CHECK_FALSE(parse_balloon_counters("nr_balloon_pages lots\n").now);
}

TEST_CASE("balloon: virtio's feature bits, the lowest first") {
  CHECK(virtio_feature("0110010100000000\n", 2) == true);
  CHECK(virtio_feature("0100010100000000\n", 2) == false);
  CHECK_FALSE(virtio_feature("01", 2));
  CHECK_FALSE(virtio_feature("01\n", 2));
}

TEST_CASE("balloon: vmmemctl of VMware, new and old") {
  const std::string_view current =
      "balloon capabilities  :             0x3e\n"
      "used capabilities     :              0x6\n"
      "is resetting          :                n\n"
      "target                :           301990\n"
      "current               :           288358\n"
      "rateSleepAlloc        :              512\n";
  CHECK(parse_driver_number(current, "current") == 288358);
  CHECK(parse_driver_number(current, "target") == 301990);
  const std::string_view of_centos_7 =
      "target:               301990 pages\ncurrent:              288358 pages\n";
  CHECK(parse_driver_number(of_centos_7, "current") == 288358);
  CHECK_FALSE(parse_driver_number("", "current"));
  CHECK_FALSE(parse_driver_number("current:\n", "current"));
  CHECK_FALSE(parse_driver_number("currently: 5\n", "current"));
}

TEST_CASE("balloon: hv-balloon of Hyper-V") {
  const std::string_view text =
      "host_version          : 2.0\ncapabilities          : enabled hot_add\n"
      "state                 : 1 (Initialized)\npage_size             : 4096\n"
      "pages_added           : 0\npages_onlined         : 0\npages_ballooned       : 65536\n"
      "total_pages_committed : 102400\nmax_dynamic_page_count: 18446744073709551615\n";
  CHECK(parse_driver_number(text, "pages_ballooned") == 65536);
  CHECK(parse_driver_number(text, "page_size") == 4096);
}

TEST_CASE("kernel_buffers: trace buffers before and after their first use") {
  CHECK(parse_trace_buffer_bytes("1408\n") == 1408 << 10);
  CHECK(parse_trace_buffer_bytes("14 (expanded: 2816)\n") == 14 << 10);
  CHECK_FALSE(parse_trace_buffer_bytes(""));
  CHECK_FALSE(parse_trace_buffer_bytes("X\n"));
}

TEST_CASE("kernel_buffers: struct pages made after boot") {
  CHECK(parse_memory_map_pages("nr_memmap_boot_pages 98304\nnr_memmap_pages 17\n") == 17);
  CHECK_FALSE(parse_memory_map_pages("nr_memmap_boot_pages 98304\n"));
}

TEST_CASE("sysv_shm: segments, and lines that are none") {
  const auto segments = parse_sysv_segments(
      "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid"
      "      atime      dtime      ctime                   rss                  swap\n"
      "         0          3   600              16777216  1234  1240      0  1000  1000  1000  1000"
      " 1769000000 1769000001 1769000000              12582912               4194304\n"
      "-1459617791          4  1600                  4096    77    77      2     0     0     0     "
      "0"
      " 1769000000          0 1769000000                  4096                     0\n"
      "         0          5   600              16777216  1234\n");
  REQUIRE(segments.size() == 2);
  CHECK(segments[0].id == 3);
  CHECK(segments[0].attached == 0);
  CHECK(segments[0].size_bytes == 16777216);
  CHECK(segments[0].resident_bytes == 12582912);
  CHECK(segments[0].swap_bytes == 4194304);
  CHECK(segments[0].creator.value == 1234);
  CHECK(segments[0].last_user.value == 1240);
  CHECK(segments[0].owner_uid == 1000);
  CHECK(segments[1].key == -1459617791);
  CHECK(segments[1].attached == 2);
  CHECK(parse_sysv_segments("").empty());
}

TEST_CASE("tmpfs: mountinfo with optional fields and blanks in the path") {
  const auto mounts = parse_mountinfo(
      "24 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
      "31 24 0:27 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=1g\n"
      "32 24 0:28 /sub /mnt/with\\040blank\\134 rw master:2 shared:7 propagate_from:9 - tmpfs x "
      "rw\n"
      "33 24 0:29 /\n"
      "34 24 0x1d / /odd rw - tmpfs x rw\n"
      "35 24 0:30 / /no-dash rw tmpfs x rw\n");
  REQUIRE(mounts.size() == 3);
  CHECK(mounts[0].fs_type == "ext4");
  CHECK(mounts[0].device == makedev(254, 1));
  CHECK(mounts[1].point == "/dev/shm");
  CHECK(mounts[1].device == makedev(0, 27));
  CHECK(mounts[2].point == "/mnt/with blank\\");
  CHECK(mounts[2].root == "/sub");
}

namespace {

class Tree : public Scratch {
 public:
  void write(const std::string& name, std::size_t bytes) const {
    std::ofstream(file(name)) << std::string(bytes, 'x');
  }
  [[nodiscard]] uint64_t device() const {
    struct stat info {};
    REQUIRE(::stat(path().c_str(), &info) == 0);
    return info.st_dev;
  }
};

}  // namespace

TEST_CASE("tmpfs: the walk finds the largest files and stays on its device") {
  const Tree tree;
  tree.write("small", 5000);
  tree.write("a/b/large", 200'000);
  tree.write("a/middle", 60'000);
  std::filesystem::create_symlink("/usr", tree.path() + "/a/link");
  ::sync();  // blocks are given when written back
  const auto walked = walk_files(tree.path(), tree.device(), {.entries = 100, .largest = 2});
  CHECK(walked.complete);
  REQUIRE(walked.largest.size() == 2);
  CHECK(walked.largest[0].path == "/a/b/large");
  CHECK(walked.largest[0].bytes >= 200'000);
  CHECK(walked.largest[1].path == "/a/middle");
  CHECK(walk_files(tree.path(), tree.device() + 1, {}).largest.empty());
}

TEST_CASE("tmpfs: a walk that is too long says so") {
  const Tree tree;
  for (int i = 0; i < 20; ++i) tree.write("file" + std::to_string(i), 1);
  CHECK_FALSE(walk_files(tree.path(), tree.device(), {.entries = 19, .largest = 5}).complete);
  CHECK(walk_files(tree.path(), tree.device(), {.entries = 20, .largest = 5}).complete);
}

TEST_CASE("holders: the cgroup that memory is charged to") {
  CHECK(parse_memory_cgroup("0::/system.slice/nginx.service\n") == "/system.slice/nginx.service");
  CHECK(parse_memory_cgroup("9:cpu,cpuacct:/a\n4:memory:/docker/x\n0::/init.scope\n") ==
        "/docker/x");
  CHECK(parse_memory_cgroup("4:memory_recursiveprot,x:/no\n0::/yes:with:colons\n") ==
        "/yes:with:colons");
  CHECK_FALSE(parse_memory_cgroup(""));
  CHECK_FALSE(parse_memory_cgroup("nothing\n"));
}

TEST_CASE("proc_net: raw sockets of both families") {
  const auto sockets = parse_proc_net_inet(
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
      "inode ref pointer drops\n"
      "  112: 0100007F:0070 00000000:0000 07 00000000:02400800 00:00000000 00000000     0        0 "
      "31337 2 0000000000000000 5\n"
      "    1: 00000000:0001 00000000:0000 07 0000\n",
      AF_INET, IPPROTO_RAW);
  REQUIRE(sockets.size() == 1);
  const model::Socket& vrrp = sockets[0].socket;
  CHECK(vrrp.protocol == "vrrp");
  CHECK(vrrp.local == "127.0.0.1");
  CHECK(vrrp.recv_queue_bytes == 0x2400800);
  CHECK(vrrp.inode.value == 31337);
  CHECK(vrrp.drops == 5);
  const auto six = parse_proc_net_inet(
      "   58: 00000000000000000000000000000000:003A 00000000000000000000000000000000:0000 07 "
      "00000100:0001E000 00:00000000 00000000     0        0 4242 2 0000000000000000 17\n",
      AF_INET6, IPPROTO_RAW);
  REQUIRE(six.size() == 1);
  CHECK(six[0].socket.family == "inet6");
  CHECK(six[0].socket.protocol == "icmpv6");
  CHECK(six[0].socket.local == "*");
  CHECK(six[0].socket.send_queue_bytes == 0x100);
  CHECK(six[0].socket.recv_queue_bytes == 0x1e000);
}

// As Linux 6.1 says it of a connection that was closed while the other end did not read.
TEST_CASE("proc_net: TCP connections, also those without a file, and what listens") {
  const auto sockets = parse_proc_net_inet(
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
      "inode\n"
      "   0: 0100007F:1267 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 "
      "7443 1 0000000000000000 100 0 0 10 0\n"
      "   1: 0100007F:D296 0100007F:1267 04 003FF001:00000000 04:00000007 00000000     0        0 "
      "0 2 0000000000000000 21 0 0 10 -1\n"
      "   2: 0100007F:1267 0100007F:D296 01 00000000:00001000 00:00000000 00000000     0        0 "
      "7445 1 0000000000000000 21 8 0 10 -1\n",
      AF_INET, IPPROTO_TCP);
  REQUIRE(sockets.size() == 3);
  CHECK(sockets[0].socket.bytes() == 0);  // three connections wait, not three bytes
  const model::Socket& closed = sockets[1].socket;
  CHECK(closed.protocol == "tcp");
  CHECK(closed.type == "stream");
  CHECK(closed.local == "127.0.0.1:53910");
  CHECK(closed.inode.value == 0);
  CHECK(closed.send_queue_bytes == 0x3ff001);
  CHECK_FALSE(closed.drops);
  CHECK(sockets[2].socket.recv_queue_bytes == 0x1000);
}

TEST_CASE("proc_net: UDP sockets with their drops") {
  const auto sockets = parse_proc_net_inet(
      "  470: 00000000:0035 00000000:0000 07 00000000:00000300 00:00000000 00000000   101        0 "
      "8100 2 0000000000000000 6\n",
      AF_INET, IPPROTO_UDP);
  REQUIRE(sockets.size() == 1);
  CHECK(sockets[0].socket.protocol == "udp");
  CHECK(sockets[0].socket.type == "dgram");
  CHECK(sockets[0].socket.recv_queue_bytes == 0x300);
  CHECK(sockets[0].socket.drops == 6);
}

TEST_CASE("proc_net: packet sockets, whose rings are not there") {
  const auto sockets = parse_proc_net_packet(
      "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"
      "0000000000000000 3      3    8863   2     1 10095232 0      99\n"
      "0000000000000000 3      2    0003   0     1 0      0      100\n"
      "0000000000000000 3\n");
  REQUIRE(sockets.size() == 2);
  CHECK(sockets[0].socket.protocol == "ppp_disc");
  CHECK(sockets[0].socket.local == "if2");
  CHECK(sockets[0].socket.recv_queue_bytes == 10095232);
  CHECK(sockets[1].socket.type == "dgram");
  CHECK(sockets[1].socket.local == "*");
}

TEST_CASE("proc_net: orphans of sockstat") {
  CHECK(parse_orphans("sockets: used 40\nTCP: inuse 4 orphan 3 tw 0 alloc 5 mem 17\n"
                      "UDP: inuse 2 mem 0\n") == 3);
  CHECK_FALSE(parse_orphans("sockets: used 40\nTCP6: inuse 4\n"));
  CHECK_FALSE(parse_orphans("TCP: inuse 4 orphan\n"));
  CHECK_FALSE(parse_orphans(""));
}

TEST_CASE("file_systems: names") {
  CHECK(file_system_name(0x01021994) == "tmpfs");
  CHECK(file_system_name(0x58465342) == "xfs");
  CHECK(file_system_name(0x4711) == "0x4711");
}

TEST_CASE("namespaces: our own comes first and is looked into without entering") {
  const auto list = list_namespaces(NamespaceKind::kNetwork);
  REQUIRE(!list.empty());
  CHECK(list[0].is_own);
  CHECK(list[0].seen_by.value == ::getpid());
  int calls = 0;
  CHECK(run_inside(list[0], [&] { ++calls; }));
  CHECK(calls == 1);
  Namespace gone = list[0];
  gone.is_own = false;
  gone.path = "/proc/0/ns/net";
  const auto entered = run_inside(gone, [&] { ++calls; });
  REQUIRE_FALSE(entered);
  CHECK(entered.error().text.contains("/proc/0/ns/net"));
  CHECK(calls == 1);
}
