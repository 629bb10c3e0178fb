// SPDX-License-Identifier: Apache-2.0
#include "bpfrt/probe_keeper.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>

#include "bpfrt/link.h"

namespace tidemark::bpfrt {
namespace {

// A packet is a Request and what it is about: `count` points, or `count` links.
struct Request {
  enum class Kind : uint32_t { kAttach, kDetach, kDetachLater };
  Kind kind = Kind::kAttach;
  UprobeMethod method = UprobeMethod::kMulti;
  ProbeEnd end = ProbeEnd::kEntry;
  int32_t pid = 0;
  const bpf_program* program = nullptr;  // the keeper is a fork: it lies at the same place
  uint32_t count = 0;
  std::array<char, 256> path{};
};
// Behind it `count` links, or where `failed` the text of the error.
struct Reply {
  bool failed = false;
  uint32_t count = 0;
};
constexpr std::size_t kMostBytes = 128 * 1024;  // of a packet

bool send_packet(int socket, const void* head, std::size_t head_bytes, const void* body,
                 std::size_t body_bytes) {
  iovec parts[2] = {{const_cast<void*>(head), head_bytes}, {const_cast<void*>(body), body_bytes}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(head_bytes + body_bytes);
}

// Empty where the other side is gone.
std::vector<std::byte> receive_packet(int socket) {
  std::vector<std::byte> packet(kMostBytes);
  ssize_t got = 0;
  do {
    got = ::recv(socket, packet.data(), packet.size(), 0);
  } while (got < 0 && errno == EINTR);
  packet.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return packet;
}

// The values behind the head of a packet.
template <typename Value>
std::vector<Value> values_behind(const std::vector<std::byte>& packet, std::size_t head_bytes,
                                 uint32_t count) {
  std::vector<Value> values(count);
  if (packet.size() >= head_bytes + count * sizeof(Value)) {
    std::memcpy(values.data(), packet.data() + head_bytes, count * sizeof(Value));
  }
  return values;
}

// The other process's side.
class Keeper {
 public:
  explicit Keeper(int socket) : socket_(socket) {}

  void run() {
    while (true) {
      const std::vector<std::byte> packet = receive_packet(socket_);
      if (packet.size() < sizeof(Request)) break;
      Request request;
      std::memcpy(&request, packet.data(), sizeof(request));
      if (request.kind == Request::Kind::kAttach) {
        attach(request, values_behind<UprobePoint>(packet, sizeof(request), request.count));
      } else {
        detach(request, values_behind<ProbeLink>(packet, sizeof(request), request.count));
      }
    }
    // Entries before returns, whatever was attached when: no call is left without its return.
    for (const ProbeEnd end : {ProbeEnd::kEntry, ProbeEnd::kReturn, ProbeEnd::kBoth}) {
      std::vector<Link> links;
      for (auto& [id, held] : links_) {
        if (held.end == end) links.push_back(std::move(held.link));
      }
      bpfrt::detach(std::move(links));
    }
  }

 private:
  struct Held {
    ProbeEnd end;
    Link link;
  };

  void attach(const Request& request, const std::vector<UprobePoint>& points) {
    auto attached = attach_uprobes(request.program, request.method, request.end,
                                   {request.path.data(), request.pid}, points);
    if (!attached) {
      const Reply reply{.failed = true, .count = 0};
      const std::string& text = attached.error().text;
      send_packet(socket_, &reply, sizeof(reply), text.data(), text.size());
      return;
    }
    std::vector<ProbeLink> ids;
    for (Link& link : *attached) {
      ids.push_back(next_++);
      links_.emplace(ids.back(), Held{request.end, std::move(link)});
    }
    const Reply reply{.failed = false, .count = static_cast<uint32_t>(ids.size())};
    send_packet(socket_, &reply, sizeof(reply), ids.data(), ids.size() * sizeof(ProbeLink));
  }

  void detach(const Request& request, const std::vector<ProbeLink>& ids) {
    std::vector<Link> links;
    for (const ProbeLink id : ids) {
      const auto found = links_.find(id);
      if (found == links_.end()) continue;
      links.push_back(std::move(found->second.link));
      links_.erase(found);
    }
    if (request.kind == Request::Kind::kDetachLater) return detacher_.take(std::move(links));
    bpfrt::detach(std::move(links));
    const Reply reply{};
    send_packet(socket_, &reply, sizeof(reply), nullptr, 0);
  }

  int socket_;
  ProbeLink next_ = 1;
  std::map<ProbeLink, Held> links_;
  Detacher detacher_;
};

// Nobody who waits for tidemark's output is to wait for the keeper, and no signal that is meant for
// tidemark is to reach it.
void become_keeper() {
  ::setsid();
  ::prctl(PR_SET_NAME, "tidemark-probes");
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) std::signal(number, SIG_IGN);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, fd);
}

}  // namespace

Result<std::unique_ptr<ProbeKeeper>> ProbeKeeper::start() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail_errno(errno, "cannot talk to a process that keeps the probes");
  }
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(errno, "cannot start a process that keeps the probes");
  if (pid == 0) {
    ours.reset();
    become_keeper();
    Keeper(theirs.get()).run();
    ::_exit(0);
  }
  std::unique_ptr<ProbeKeeper> keeper(new ProbeKeeper());
  keeper->socket_ = std::move(ours);
  keeper->keeper_ = pid;
  return keeper;
}

ProbeKeeper::~ProbeKeeper() {
  socket_.reset();
  while (::waitpid(keeper_, nullptr, 0) < 0 && errno == EINTR) continue;
}

Result<std::vector<ProbeLink>> ProbeKeeper::attach(const bpf_program* program, UprobeMethod method,
                                                   ProbeEnd end, const UprobeTarget& target,
                                                   std::span<const UprobePoint> points) {
  Request request{Request::Kind::kAttach,
                  method,
                  end,
                  target.pid,
                  program,
                  static_cast<uint32_t>(points.size()),
                  {}};
  if (target.path.size() >= request.path.size()) return fail("{}: too long a path", target.path);
  target.path.copy(request.path.data(), target.path.size());
  if (!send_packet(socket_.get(), &request, sizeof(request), points.data(), points.size_bytes())) {
    return fail("the process that keeps the probes is gone: start again");
  }
  const std::vector<std::byte> packet = receive_packet(socket_.get());
  if (packet.size() < sizeof(Reply)) {
    return fail("the process that keeps the probes is gone: start again");
  }
  Reply reply;
  std::memcpy(&reply, packet.data(), sizeof(reply));
  if (reply.failed) {
    const auto* text = reinterpret_cast<const char*>(packet.data());
    return fail("{}", std::string_view(text + sizeof(reply), packet.size() - sizeof(reply)));
  }
  return values_behind<ProbeLink>(packet, sizeof(reply), reply.count);
}

void ProbeKeeper::detach(std::span<const ProbeLink> links) {
  if (links.empty()) return;
  Request request;
  request.kind = Request::Kind::kDetach;
  request.count = static_cast<uint32_t>(links.size());
  if (send_packet(socket_.get(), &request, sizeof(request), links.data(), links.size_bytes())) {
    (void)receive_packet(socket_.get());
  }
}

void ProbeKeeper::detach_later(std::span<const ProbeLink> links) {
  if (links.empty()) return;
  Request request;
  request.kind = Request::Kind::kDetachLater;
  request.count = static_cast<uint32_t>(links.size());
  send_packet(socket_.get(), &request, sizeof(request), links.data(), links.size_bytes());
}

}  // namespace tidemark::bpfrt
