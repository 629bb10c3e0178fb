// SPDX-License-Identifier: Apache-2.0
//
// Answer: handle_request() loses a CommItopReq (1,500 bytes) whenever it returns early on a channel
// that nobody configured, one request in 50. Nothing else stays live. A tracer names handle_request
// in the topmost call site; frames[0] may be operator new. The ledger counts what was lost since
// `go`.
//
// After a case met in the field: a request server grew with the traffic of one channel, 4099.
#include <poll.h>

#include <new>

#include "target.h"

namespace {

constexpr int kConfiguredChannel = 12;
constexpr int kUnknownChannel = 4099;
constexpr int kRequestsATurn = 20;
constexpr int kTurnMs = 5;

struct Request {
  int channel_id;
  unsigned length;
};

class CommItopReq {
 public:
  explicit CommItopReq(const Request& request) : channel_id_(request.channel_id) {
    for (unsigned i = 0; i < request.length; ++i) body_[i] = static_cast<char>('a' + i % 26);
  }
  [[nodiscard]] int channel_id() const { return channel_id_; }

 private:
  int channel_id_;
  char body_[1496];
};
static_assert(sizeof(CommItopReq) == 1500);

target_site lost = {"handle_request", 0, 0, 0, 0, 0};

}  // namespace

TARGET_NOINLINE int handle_request(const Request& request) {
  CommItopReq* message = new CommItopReq(request);
  TARGET_USE(message);
  target_born(&lost, sizeof(CommItopReq));
  if (message->channel_id() != kConfiguredChannel) {
    return -1;  // the mistake: the message stays
  }
  delete message;
  target_gone(&lost, sizeof(CommItopReq));
  return 0;
}

TARGET_NOINLINE int serve_connection(unsigned& number) {
  int refused = 0;
  for (int i = 0; i < kRequestsATurn; ++i, ++number) {
    const Request request{number % 50 == 0 ? kUnknownChannel : kConfiguredChannel, number % 1000};
    if (handle_request(request) != 0) ++refused;
  }
  return refused;
}

int main() {
  unsigned number = 0;
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  target_say("ready");
  target_await("go");
  while (poll(&input, 1, kTurnMs) == 0) serve_connection(number);
  target_await("stop");
  target_say("done");
  target_say_ledger(&lost, 1);
  target_await_quit();
}
