// SPDX-License-Identifier: Apache-2.0
#include "system/counters.h"

#include <doctest/doctest.h>

#include "fixtures.h"

using namespace tidemark;
using namespace tidemark::system;

TEST_CASE("meminfo: bytes, and counts where there is no unit") {
  const auto counters = parse_meminfo(fixture("linux_6_18/proc/meminfo"));
  REQUIRE(counters.has_value());
  CHECK(counters->find("MemTotal") == 24684092ull * 1024);
  CHECK(counters->find("Hugepagesize") == 2048ull * 1024);
  CHECK(counters->find("HugePages_Total") == 0);
  CHECK(counters->find("Active(anon)").has_value());
  CHECK_FALSE(counters->find("NoSuchLine").has_value());
}

TEST_CASE("meminfo: an old kernel's, without the later lines") {
  const auto counters = parse_meminfo(fixture("field_meminfo/proc/meminfo"));
  REQUIRE(counters.has_value());
  CHECK(counters->find("VmallocChunk") == 34359484404ull * 1024);
  CHECK_FALSE(counters->find("Percpu").has_value());
}

TEST_CASE("meminfo: every cut is an error or a whole set of the lines that must be there") {
  const std::string whole = fixture("linux_6_18/proc/meminfo");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto cut = parse_meminfo(whole.substr(0, length));
    if (cut) CHECK(cut->find("VmallocUsed").has_value());
  }
  CHECK(parse_meminfo("").error().text == "/proc/meminfo is empty");
  CHECK(parse_meminfo("MemTotal: 1 kB").error().text.find("cut off") != std::string::npos);
  CHECK(parse_meminfo("\n").error().text.find("no MemTotal") != std::string::npos);
}

TEST_CASE("meminfo: a line that makes no sense is passed over, not read as 0") {
  std::string text = fixture("linux_6_18/proc/meminfo");
  text +=
      "Odd: twelve kB\nHuge: 99999999999999999999 kB\nWide: 18446744073709551615 kB\nNew: 7 MB\n";
  const auto counters = parse_meminfo(text);
  REQUIRE(counters.has_value());
  for (const char* name : {"Odd", "Huge", "Wide", "New"})
    CHECK_FALSE(counters->find(name).has_value());
}

TEST_CASE("vmstat and memory.stat: names and numbers") {
  const auto counters = parse_named_values(fixture("linux_6_18/proc/vmstat"), "/proc/vmstat");
  REQUIRE(counters.has_value());
  CHECK(counters->find("nr_zspages") == 0);
  CHECK(counters->find("nr_memmap_boot_pages") == 98304);
  CHECK(parse_named_values("", "/proc/vmstat").error().text == "/proc/vmstat is empty");
  CHECK_FALSE(parse_named_values("a b\n", "x").has_value());
}

TEST_CASE("zoneinfo: pages on per-CPU lists, and what the CPUs may hold back") {
  const auto old_kernel = parse_zoneinfo(fixture("field_balloon/proc/zoneinfo"));
  REQUIRE(old_kernel.has_value());
  CHECK(old_kernel->per_cpu_list_pages == 1500);
  CHECK(old_kernel->vmstat_threshold_pages == 4 + 4 + 24 + 24);
  const auto zones = parse_zoneinfo(fixture("linux_6_18/proc/zoneinfo"));
  REQUIRE(zones.has_value());
  CHECK(zones->vmstat_threshold_pages == 2 * (4 + 24 + 32));
}

TEST_CASE("zoneinfo: cut off inside a zone it is an error, not a smaller number") {
  const std::string whole = fixture("field_balloon/proc/zoneinfo");
  const auto second_zone = whole.find("Node 0, zone    DMA32");
  const auto lists = whole.find("count: 688");
  CHECK(
      parse_zoneinfo(whole.substr(0, whole.rfind('\n', lists) + 1)).error().text.find("cut off") !=
      std::string::npos);
  // At the end of a zone nothing shows it; all that is before is right.
  REQUIRE(parse_zoneinfo(whole.substr(0, second_zone)).has_value());
  CHECK(parse_zoneinfo("nothing\n").error().text == "/proc/zoneinfo names no zone");
}
