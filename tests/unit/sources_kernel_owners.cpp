// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <doctest/doctest.h>

#include <cstring>
#include <string_view>

#include "sources/kernel_owners.h"

using namespace tidemark::sources;

namespace {

tm_owner charged(uint64_t cgroup, std::string_view name) {
  tm_owner answer{};
  answer.is_readable = 1;
  answer.owned = TM_OWNED_OBJECT;
  answer.cgroup = cgroup;
  name.copy(answer.cgroup_name, sizeof(answer.cgroup_name) - 1);
  return answer;
}

tm_owner packet(uint16_t protocol, std::string_view device) {
  tm_owner answer{};
  answer.is_readable = 1;
  answer.owned = TM_OWNED_SKB;
  answer.protocol = htons(protocol);
  device.copy(answer.device, sizeof(answer.device) - 1);
  return answer;
}

}  // namespace

TEST_CASE("owners: blocks are added up by control group, largest first") {
  OwnerTally tally;
  for (int i = 0; i < 3; ++i) tally.add(charged(7, "web.service"), 100);
  tally.add(charged(9, "db.service"), 5000);
  tally.add(charged(0, ""), 5000);  // charged to none
  tm_owner unreadable = charged(9, "db.service");
  unreadable.is_readable = 0;
  tally.add(unreadable, 5000);
  const auto owners = tally.finish();
  REQUIRE(owners.cgroups.size() == 2);
  CHECK(owners.cgroups[0].id == 9);
  CHECK(owners.cgroups[0].live_bytes == 5000);
  CHECK(owners.cgroups[0].live_count == 1);
  CHECK(owners.cgroups[1].name == "web.service");
  CHECK(owners.cgroups[1].live_count == 3);
  CHECK_FALSE(owners.cgroups[0].path.has_value());
  CHECK(owners.packets.empty());
}

TEST_CASE("owners: packets by protocol and device; what is no device's name is none") {
  OwnerTally tally;
  tally.add(packet(0x0800, "eth0"), 256);
  tally.add(packet(0x0800, "eth0"), 256);
  tally.add(packet(0x0800, "\x01\x7f"), 256);
  tally.add(packet(0, ""), 256);
  const auto owners = tally.finish();
  REQUIRE(owners.packets.size() == 3);
  CHECK(owners.packets[0].protocol == 0x0800);
  CHECK(owners.packets[0].device == "eth0");
  CHECK(owners.packets[0].live_count == 2);
  CHECK(owners.packets[1].device.empty());
  CHECK(holds_packets("skbuff_head_cache"));
  CHECK_FALSE(holds_packets("kmalloc-256"));
}
