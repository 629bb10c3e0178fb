// SPDX-License-Identifier: Apache-2.0
//
// Links and fdinfo of descriptors, as kernels write them, and as nobody should.
#include <doctest/doctest.h>

#include "system/fdinfo.h"

using namespace tidemark::system;

TEST_CASE("fdinfo: where a descriptor leads") {
  CHECK(parse_fd_link("socket:[4711]").kind == FdKind::kSocket);
  CHECK(parse_fd_link("socket:[4711]").inode == 4711);
  CHECK(parse_fd_link("pipe:[12]").kind == FdKind::kPipe);
  CHECK(parse_fd_link("pipe:[12]").inode == 12);
  CHECK(parse_fd_link("anon_inode:[perf_event]").kind == FdKind::kPerf);
  CHECK(parse_fd_link("anon_inode:[io_uring]").kind == FdKind::kIoUring);
  CHECK(parse_fd_link("anon_inode:bpf-map").kind == FdKind::kBpfMap);
  CHECK(parse_fd_link("anon_inode:bpf-prog").kind == FdKind::kOther);
  CHECK(parse_fd_link("anon_inode:[eventpoll]").kind == FdKind::kOther);
  CHECK(parse_fd_link("/dev/dri/renderD128").kind == FdKind::kGpu);
  CHECK(parse_fd_link("/var/log/syslog").kind == FdKind::kOther);
}

TEST_CASE("fdinfo: files without a name") {
  const auto memfd = parse_fd_link("/memfd:wl_shm (deleted)");
  CHECK(memfd.kind == FdKind::kDeletedFile);
  CHECK(memfd.path == "memfd:wl_shm");
  const auto file = parse_fd_link("/tmp/a b (deleted) (deleted)");
  CHECK(file.kind == FdKind::kDeletedFile);
  CHECK(file.path == "/tmp/a b (deleted)");
}

TEST_CASE("fdinfo: what is cut off or made up is something else") {
  for (const char* link : {"", "socket:[", "socket:[]", "socket:[12", "socket:[x]", "pipe:[-1]",
                           "socket:[99999999999999999999999]", " (deleted)", "(deleted)"}) {
    CAPTURE(link);
    CHECK(parse_fd_link(link).kind == FdKind::kOther);
  }
}

TEST_CASE("fdinfo: a BPF map") {
  CHECK(parse_map_id("pos:\t0\nflags:\t02000002\nmap_type:\t27\nmap_id:\t311\nfrozen:\t0\n") ==
        311);
  CHECK_FALSE(parse_map_id("pos:\t0\n"));
  CHECK_FALSE(parse_map_id("map_id:\t\n"));
  CHECK_FALSE(parse_map_id(""));
}

TEST_CASE("fdinfo: an io_uring by its masks, of kernels that write them") {
  const auto entries = parse_io_uring(
      "pos:\t0\nflags:\t02000002\nSqMask:\t0xfff\nSqHead:\t0\nSqTail:\t0\nCachedSqHead:\t0\n"
      "CqMask:\t0x1fff\nCqHead:\t0\nCqTail:\t0\n");
  REQUIRE(entries);
  CHECK(entries->sq_entries == 4096);
  CHECK(entries->cq_entries == 8192);
  // Linux 5.10 says who polls, and nothing of the rings.
  CHECK_FALSE(parse_io_uring("pos:\t0\nSqThread:\t-1\nSqThreadCpu:\t-1\nUserFiles:\t0\n"));
  CHECK_FALSE(parse_io_uring("SqMask:\t0xfff\nCqMask:\t\n"));
}

TEST_CASE("fdinfo: a client of amdgpu has its GTT in pages of the driver") {
  const auto client = parse_drm(
      "pos:\t0\nflags:\t02100002\ndrm-driver:\tamdgpu\ndrm-pdev:\t0000:05:00.0\n"
      "drm-client-id:\t122\ndrm-memory-vram:\t2048 KiB\ndrm-memory-gtt:\t25 MiB\n"
      "drm-memory-cpu:\t4 KiB\ndrm-engine-gfx:\t1 ns\n");
  REQUIRE(client);
  CHECK(client->driver == "amdgpu");
  CHECK(client->client_id == 122);
  CHECK(system_memory_bytes(*client) == (25 << 20) + 4096);
  CHECK(driver_page_bytes(*client) == system_memory_bytes(*client));
}

TEST_CASE("fdinfo: a client of i915 has shared memory, resident counts more than total") {
  const auto client = parse_drm(
      "drm-driver:\ti915\ndrm-client-id:\t7\ndrm-pdev:\t0000:00:02.0\n"
      "drm-total-system0:\t64 MiB\ndrm-resident-system0:\t16 MiB\ndrm-shared-system0:\t0\n"
      "drm-total-stolen-system0:\t1 MiB\n");
  REQUIRE(client);
  CHECK(system_memory_bytes(*client) == 16 << 20);
  CHECK(driver_page_bytes(*client) == 0);
}

TEST_CASE("fdinfo: no client without a driver and an id") {
  CHECK_FALSE(parse_drm(""));
  CHECK_FALSE(parse_drm("drm-driver:\tamdgpu\n"));
  CHECK_FALSE(parse_drm("drm-client-id:\t7\n"));
  CHECK_FALSE(parse_drm("drm-driver:\txe\ndrm-client-id:\tmany\n"));
  const auto odd = parse_drm("drm-driver:\txe\ndrm-client-id:\t1\ndrm-resident-gtt:\t5 parsecs\n");
  REQUIRE(odd);
  CHECK(system_memory_bytes(*odd) == 0);
}
