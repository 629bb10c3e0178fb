// SPDX-License-Identifier: Apache-2.0
//
// slabinfo, its aliases, and vmallocinfo.
#include <doctest/doctest.h>

#include <algorithm>

#include "fixtures.h"
#include "system/slab.h"
#include "system/vmalloc.h"

using namespace tidemark;
using namespace tidemark::system;

namespace {

const model::SlabCache& cache(const std::vector<model::SlabCache>& caches, std::string_view name) {
  const auto found = std::ranges::find(caches, name, &model::SlabCache::name);
  REQUIRE(found != caches.end());
  return *found;
}

}  // namespace

TEST_CASE("slabinfo: the caches of the field case") {
  const auto caches = parse_slabinfo(fixture("field_slab/proc/slabinfo"), 4096);
  REQUIRE(caches.has_value());
  REQUIRE(caches->size() == 3);
  const model::SlabCache& large = cache(*caches, "kmalloc-2048");
  CHECK(large.active_objects == 1058194);
  CHECK(large.objects == 1058288);
  CHECK(large.object_bytes == 2048);
  CHECK(large.slabs == 66143);
  CHECK(large.bytes == 66143ull * 8 * 4096);
  CHECK_FALSE(large.reclaimable.has_value());
}

TEST_CASE("slabinfo: names with blanks, lines that are none, numbers too large") {
  const std::string head = "slabinfo - version: 2.1\n# name ...\n";
  const std::string tail = " : tunables    0    0    0 : slabdata      4      4      0\n";
  const auto caches =
      parse_slabinfo(head + "two words 1 2 32 128 1" + tail + "short 1 2" + tail +
                         "no tables 1 2 3 4 5\n" + "wide 1 2 32 128 18446744073709551615" + tail,
                     4096);
  REQUIRE(caches.has_value());
  REQUIRE(caches->size() == 1);
  CHECK(caches->front().name == "two words");
  CHECK(caches->front().bytes == 4 * 4096);
}

TEST_CASE("slabinfo: what is none is an error") {
  CHECK(parse_slabinfo("", 4096).error().text == "/proc/slabinfo is empty");
  CHECK_FALSE(parse_slabinfo("slabinfo - version: 3.0\n", 4096).has_value());
  CHECK_FALSE(parse_slabinfo("slabinfo - version: 2.1\n", 4096).has_value());
  const std::string whole = fixture("linux_6_18/proc/slabinfo");
  CHECK_FALSE(parse_slabinfo(whole.substr(0, whole.size() / 2), 4096).has_value());
}

TEST_CASE("slab aliases: each merged cache gets all its names") {
  auto caches = parse_slabinfo(fixture("field_slab/proc/slabinfo"), 4096);
  REQUIRE(caches.has_value());
  const auto links = read_slab_links(HostRoot(fixture_path("field_slab")));
  REQUIRE(links.has_value());
  add_aliases(*caches, *links);
  CHECK(cache(*caches, "Acpi-ParseExt").aliases ==
        std::vector<std::string>{"Acpi-Operand", "Acpi-ParseExt", "TSPacket", "eventpoll_pwq"});
  CHECK(cache(*caches, "kmalloc-256").aliases ==
        std::vector<std::string>{"bio-0", "biovec-16", "filp", "ip_dst_cache", "kmalloc-256",
                                 "mnt_cache", "nf_conntrack_expect", "pool_workqueue",
                                 "request_sock_TCP", "request_sock_TCPv6", "sgpool-8",
                                 "skbuff_head_cache"});
  CHECK(cache(*caches, "kmalloc-2048").aliases.empty());
}

TEST_CASE("vmallocinfo: pages of vmalloc itself, by caller; mappings of others apart") {
  const auto info = parse_vmallocinfo(fixture("field_meminfo/proc/vmallocinfo"), 4096);
  REQUIRE(info.has_value());
  REQUIRE_FALSE(info->callers.empty());
  CHECK(info->callers.front().caller == "alloc_large_system_hash+0x171/0x239");
  CHECK(info->callers.front().areas == 7);
  CHECK(info->callers.front().bytes == (512 + 256 + 32 + 64 + 8 + 8 + 4) * 4096);
  CHECK(info->page_bytes == 917 * 4096);
  CHECK(info->mapped_bytes == 8192 + 12288 + 8192 + 8192);
  CHECK_FALSE(info->kernel_stacks);
}

TEST_CASE("vmallocinfo: stacks of tasks, modules, and pages that vmap only maps") {
  const auto info = parse_vmallocinfo(
      "0x1-0x2   20480 kernel_clone+0x94/0x3e0 pages=4 vmalloc N0=4\n"
      "0x2-0x3   20480 leak_init+0x1/0x9 [leaky] pages=4 vmalloc N0=4\n"
      "0x3-0x4   20480 map_kernel_range+0x1/0x2 pages=4 vmap\n"
      "0x4-0x5   8192 unpurged vm_area\n"
      "not a line\n",
      4096);
  REQUIRE(info.has_value());
  CHECK(info->kernel_stacks);
  CHECK(info->page_bytes == 8 * 4096);
  REQUIRE(info->callers.size() == 2);
  CHECK(std::ranges::any_of(info->callers, [](const model::VmallocCaller& caller) {
    return caller.caller == "leak_init+0x1/0x9 [leaky]";
  }));
  CHECK_FALSE(parse_vmallocinfo("", 4096).has_value());
  CHECK_FALSE(parse_vmallocinfo("nothing here\n", 4096).has_value());
}
