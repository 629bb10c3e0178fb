// SPDX-License-Identifier: Apache-2.0
//
// Answer: remember_session() keeps a session of 640 bytes for ever, about 200 a second. The reply
// buffers of answer_request() come and go. For tools/quickstart: it prints nothing, reads nothing
// and ends by itself.
//
//   leaky_server [seconds = 60] [workers = 2]
#include <pthread.h>
#include <time.h>

#include <atomic>

#include "target.h"

namespace {

constexpr long kMaxWorkers = 16;
constexpr int kSessionBuckets = 512;
constexpr timespec kTurn = {0, 10'000'000};

struct Session {
  Session* next;
  unsigned long user;
  char state[624];
};
static_assert(sizeof(Session) == 640);

// The cache forgets nobody: logging out was never written.
class SessionCache {
 public:
  void add(Session* session) {
    pthread_mutex_lock(&lock_);
    Session*& bucket = buckets_[session->user % kSessionBuckets];
    session->next = bucket;
    bucket = session;
    pthread_mutex_unlock(&lock_);
  }

 private:
  pthread_mutex_t lock_ = PTHREAD_MUTEX_INITIALIZER;
  Session* buckets_[kSessionBuckets] = {};
};

SessionCache sessions;
std::atomic<unsigned long> next_user{1};
std::atomic<bool> stopping{false};

}  // namespace

TARGET_NOINLINE void remember_session(unsigned long user) {
  Session* session = static_cast<Session*>(malloc(sizeof(Session)));
  TARGET_USE(session);
  if (session == nullptr) return;
  session->user = user;
  memset(session->state, 's', sizeof(session->state));
  sessions.add(session);
}

TARGET_NOINLINE void answer_request(unsigned long user) {
  const size_t length = 256 + user % 4096;
  char* reply = static_cast<char*>(malloc(length));
  TARGET_USE(reply);
  if (reply == nullptr) return;
  memset(reply, 'r', length);
  free(reply);
}

TARGET_NOINLINE void handle_connection() {
  const unsigned long user = next_user.fetch_add(1);
  remember_session(user);
  for (int request = 0; request < 5; ++request) answer_request(user + request);
  TARGET_USE(&sessions);
}

namespace {

void* worker_main(void*) {
  while (!stopping.load()) {
    handle_connection();
    nanosleep(&kTurn, nullptr);
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  const long seconds = target_number(argc, argv, 1, 60);
  const long workers = target_number(argc, argv, 2, 2);
  if (seconds < 1 || workers < 1 || workers > kMaxWorkers) return 64;
  pthread_t threads[kMaxWorkers];
  for (long i = 0; i < workers; ++i) {
    if (pthread_create(&threads[i], nullptr, worker_main, nullptr) != 0) return 71;
  }
  const timespec all = {seconds, 0};
  nanosleep(&all, nullptr);
  stopping.store(true);
  for (long i = 0; i < workers; ++i) pthread_join(threads[i], nullptr);
}
