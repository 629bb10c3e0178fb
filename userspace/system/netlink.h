// SPDX-License-Identifier: Apache-2.0
//
// One dump over netlink, by libnl: a request, and the body of each message of the answer. A socket
// for each call, in the network namespace of the calling thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "support/result.h"

namespace tidemark::system {

struct NetlinkRequest {
  uint16_t type = 0;
  std::vector<std::byte> body;
};

// `protocol`: NETLINK_SOCK_DIAG, NETLINK_GENERIC. An error says what the kernel answered.
[[nodiscard]] Status netlink_dump(int protocol, const NetlinkRequest& request,
                                  const std::function<void(std::span<const std::byte>)>& visit);
// The same for a question with one answer.
[[nodiscard]] Result<std::vector<std::byte>> netlink_ask(int protocol,
                                                         const NetlinkRequest& request);

}  // namespace tidemark::system
