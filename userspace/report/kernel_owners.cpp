// SPDX-License-Identifier: Apache-2.0
#include "report/kernel_owners.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>

#include "report/names.h"
#include "report/page.h"
#include "report/trace_parts.h"
#include "support/socket_names.h"
#include "support/units.h"

namespace tidemark::report {
namespace {

constexpr std::size_t kMostPackets = 3;

std::string cgroup_line(const model::BlockOwners& owners) {
  const model::CgroupShare& most = owners.cgroups.front();
  const std::size_t others = owners.cgroups.size() - 1;
  std::string line = fmt::format("charged to cgroup {}: {} in {} block{}",
                                 printable(most.path.value_or(most.name + " (gone)")),
                                 format_bytes(most.live_bytes), count_text(most.live_count),
                                 plural(most.live_count));
  uint64_t bytes = 0;
  for (std::size_t i = 1; i < owners.cgroups.size(); ++i) bytes += owners.cgroups[i].live_bytes;
  if (others > 0)
    line += fmt::format("; to {} other{} {}", others, plural(others), format_bytes(bytes));
  return line;
}

std::string packet_line(const model::PacketShare& share) {
  const std::string protocol =
      share.protocol == 0 ? "no protocol yet" : socket_protocol_name(AF_PACKET, share.protocol);
  const std::string device = share.device.empty() ? "" : " at " + printable(share.device);
  return fmt::format("packets: {} {}{}", count_text(share.live_count), protocol, device);
}

}  // namespace

std::vector<std::string> owner_lines(const CallSiteRow& row) {
  std::vector<std::string> lines;
  if (row.refill)
    lines.push_back(fmt::format("refill of {}: who got the parts is not known", *row.refill));
  if (!row.owners.cgroups.empty()) lines.push_back(cgroup_line(row.owners));
  for (std::size_t i = 0; i < std::min(row.owners.packets.size(), kMostPackets); ++i)
    lines.push_back(packet_line(row.owners.packets[i]));
  return lines;
}

}  // namespace tidemark::report
