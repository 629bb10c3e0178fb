// SPDX-License-Identifier: Apache-2.0
#include "system/netlink.h"

#include <netlink/msg.h>
#include <netlink/netlink.h>

#include <cstring>
#include <memory>

namespace tidemark::system {
namespace {

struct FreeSocket {
  void operator()(nl_sock* socket) const noexcept { nl_socket_free(socket); }
};
using Socket = std::unique_ptr<nl_sock, FreeSocket>;
using Visit = std::function<void(std::span<const std::byte>)>;

// Called through C: nothing may be thrown out of it but for want of memory.
int deliver(nl_msg* message, void* visit) noexcept {
  nlmsghdr* header = nlmsg_hdr(message);
  const auto* body = static_cast<const std::byte*>(nlmsg_data(header));
  (*static_cast<const Visit*>(visit))({body, static_cast<std::size_t>(nlmsg_datalen(header))});
  return NL_OK;
}

// A dump that fails ends like one that does not, but for an error number in its last message; libnl
// does not look at it.
int finish(nl_msg* message, void* error) noexcept {
  nlmsghdr* header = nlmsg_hdr(message);
  if (nlmsg_datalen(header) >= static_cast<int>(sizeof(int))) {
    std::memcpy(error, nlmsg_data(header), sizeof(int));
  }
  return NL_STOP;
}

Status exchange(int protocol, const NetlinkRequest& request, int flags, const Visit& visit) {
  const Socket socket(nl_socket_alloc());
  if (!socket) return fail("no memory for a netlink socket");
  int result = nl_connect(socket.get(), protocol);
  int dump_error = 0;  // negative
  if (result == 0) {
    nl_socket_modify_cb(socket.get(), NL_CB_FINISH, NL_CB_CUSTOM, finish, &dump_error);
    nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, deliver,
                        const_cast<Visit*>(&visit));
    auto body = request.body;
    result = nl_send_simple(socket.get(), request.type, flags, body.data(), body.size());
  }
  if (result >= 0) result = nl_recvmsgs_default(socket.get());
  if (result < 0) return fail("netlink: {}", nl_geterror(result));
  if (dump_error < 0) return fail_errno(-dump_error, "netlink");
  return {};
}

}  // namespace

Status netlink_dump(int protocol, const NetlinkRequest& request, const Visit& visit) {
  return exchange(protocol, request, NLM_F_REQUEST | NLM_F_DUMP, visit);
}

Result<std::vector<std::byte>> netlink_ask(int protocol, const NetlinkRequest& request) {
  std::vector<std::byte> answer;
  const Visit keep = [&](std::span<const std::byte> body) {
    answer.assign(body.begin(), body.end());
  };
  auto asked = exchange(protocol, request, NLM_F_REQUEST, keep);
  if (!asked) return std::unexpected(asked.error());
  return answer;
}

}  // namespace tidemark::system
