// SPDX-License-Identifier: Apache-2.0
//
// Page pools by the generic netlink family "netdev" (Linux 6.8). Its header is newer than some
// build hosts' kernel headers, so the numbers stand here: they are fixed by
// Documentation/netlink/specs/netdev.yaml.
#include <linux/genetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <array>
#include <cstring>

#include "system/kernel_buffers.h"
#include "system/namespaces.h"
#include "system/netlink.h"

namespace tidemark::system {
namespace {

constexpr uint8_t kPagePoolGet = 5;
enum PagePoolAttribute { kId = 1, kInterface = 2, kInflightBytes = 5, kDetachTime = 6, kMax = 6 };

std::vector<std::byte> generic_request(uint8_t command, std::string_view family_name) {
  genlmsghdr header{};
  header.cmd = command;
  header.version = 1;
  std::vector<std::byte> body(sizeof(header));
  std::memcpy(body.data(), &header, sizeof(header));
  if (family_name.empty()) return body;
  const std::string text(family_name);  // with its end
  nlattr attribute{};
  attribute.nla_type = CTRL_ATTR_FAMILY_NAME;
  attribute.nla_len = static_cast<uint16_t>(NLA_HDRLEN + text.size() + 1);
  body.resize(sizeof(header) + NLA_ALIGN(attribute.nla_len));
  std::memcpy(body.data() + sizeof(header), &attribute, sizeof(attribute));
  std::memcpy(body.data() + sizeof(header) + NLA_HDRLEN, text.c_str(), text.size() + 1);
  return body;
}

template <std::size_t kCount>
std::array<nlattr*, kCount> attributes_of(std::span<const std::byte> message) {
  std::array<nlattr*, kCount> table{};
  if (message.size() < sizeof(genlmsghdr)) return table;
  const auto rest = message.subspan(sizeof(genlmsghdr));
  auto* first = reinterpret_cast<nlattr*>(const_cast<std::byte*>(rest.data()));
  nla_parse(table.data(), static_cast<int>(kCount) - 1, first, static_cast<int>(rest.size()),
            nullptr);
  return table;
}

// The kernel writes a number in 4 bytes where it fits, else in 8.
std::optional<uint64_t> number_of(const nlattr* attribute) {
  if (attribute == nullptr) return std::nullopt;
  if (nla_len(attribute) == sizeof(uint32_t)) return nla_get_u32(attribute);
  if (nla_len(attribute) == sizeof(uint64_t)) {
    uint64_t value = 0;
    std::memcpy(&value, nla_data(attribute), sizeof(value));
    return value;
  }
  return std::nullopt;
}

Result<uint16_t> family_number(std::string_view name) {
  const auto answer =
      netlink_ask(NETLINK_GENERIC, {GENL_ID_CTRL, generic_request(CTRL_CMD_GETFAMILY, name)});
  if (!answer) return std::unexpected(answer.error());
  const auto attributes = attributes_of<CTRL_ATTR_FAMILY_NAME + 1>(*answer);
  const nlattr* id = attributes[CTRL_ATTR_FAMILY_ID];
  if (id == nullptr) return fail("the kernel gives no number for the family {}", name);
  return nla_get_u16(id);
}

model::GhostHolder to_holder(const PagePool& pool) {
  std::array<char, IF_NAMESIZE> name{};
  model::GhostHolder holder;
  holder.maker = model::GhostMaker::kNetworkRx;
  holder.bytes = pool.bytes;
  holder.ghost_bytes = pool.bytes.value_or(0);
  holder.detail = fmt::format("page pool {}", pool.id);
  if (pool.interface != 0 && ::if_indextoname(pool.interface, name.data()) != nullptr) {
    holder.detail += fmt::format(" of {}", name.data());
  }
  if (pool.detached) holder.detail += ", its interface is gone and pages are still out";
  return holder;
}

Status read_pools_here(std::vector<model::GhostHolder>& holders) {
  const auto family = family_number("netdev");
  if (!family) return std::unexpected(family.error());
  return netlink_dump(NETLINK_GENERIC, {*family, generic_request(kPagePoolGet, "")},
                      [&](std::span<const std::byte> message) {
                        const auto pool = parse_page_pool(message);
                        if (pool && pool->bytes != uint64_t{0}) holders.push_back(to_holder(*pool));
                      });
}

}  // namespace

std::optional<PagePool> parse_page_pool(std::span<const std::byte> message) {
  const auto attributes = attributes_of<kMax + 1>(message);
  const auto id = number_of(attributes[kId]);
  if (!id) return std::nullopt;
  PagePool pool;
  pool.id = *id;
  pool.interface = static_cast<uint32_t>(number_of(attributes[kInterface]).value_or(0));
  pool.bytes = number_of(attributes[kInflightBytes]);
  pool.detached = attributes[kDetachTime] != nullptr;
  return pool;
}

void read_page_pools(const std::vector<Namespace>& networks,
                     std::vector<model::GhostHolder>& holders,
                     std::vector<model::Coverage>& coverage) {
  model::Coverage line{"netdev/page-pool", model::HookState::kOn, {}};
  for (const Namespace& network : networks) {
    Status status;
    const auto entered = run_inside(network, [&] { status = read_pools_here(holders); });
    const Status& worse = entered ? status : entered;
    if (worse || line.reason) continue;
    line.state = model::HookState::kMissing;
    line.reason = fmt::format(
        "page pools are not told ({}): receive buffers of network cards are "
        "not listed",
        worse.error().text);
  }
  coverage.push_back(std::move(line));
}

}  // namespace tidemark::system
