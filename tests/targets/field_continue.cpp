// SPDX-License-Identifier: Apache-2.0
//
// Answer: process_commands() loses the command (200 bytes) that its first branch `continue`s past,
// in one of the six handler threads only: no other gets an expired key. Nothing else stays live.
// The ledger counts what was lost since `go`.
//
// After a case met in the field: six handlers of redis commands, tests that never took the branch.
#include <pthread.h>
#include <time.h>

#include <atomic>

#include "target.h"

namespace {

constexpr int kHandlers = 6;
constexpr int kUnluckyHandler = 3;
constexpr int kCommandsATurn = 10;
constexpr timespec kTurn = {0, 5'000'000};

enum class Verb { kGet, kGetExpired, kSet };

struct Command {
  Verb verb;
  char key[196];
};
static_assert(sizeof(Command) == 200);

struct Handler {
  pthread_t thread;
  int number = 0;
  unsigned taken = 0;
  unsigned answered = 0;
  target_site lost = {"process_commands", 0, 0, 0, 0, 0};
};

Handler handlers[kHandlers];
pthread_barrier_t start_line;
pthread_barrier_t finish_line;
std::atomic<bool> stopping{false};

Verb next_verb(Handler& handler) {
  const unsigned number = handler.taken++;
  if (handler.number == kUnluckyHandler && number % 10 == 0) return Verb::kGetExpired;
  return number % 3 == 0 ? Verb::kSet : Verb::kGet;
}

}  // namespace

TARGET_NOINLINE void process_commands(Handler& handler) {
  for (int i = 0; i < kCommandsATurn; ++i) {
    Command* command = static_cast<Command*>(malloc(sizeof(Command)));
    if (command == nullptr) _exit(71);
    target_born(&handler.lost, sizeof(Command));
    command->verb = next_verb(handler);
    TARGET_USE(command);
    if (command->verb == Verb::kGetExpired) {
      continue;  // the mistake: the command stays
    }
    if (command->verb == Verb::kGet) ++handler.answered;
    free(command);
    target_gone(&handler.lost, sizeof(Command));
  }
}

namespace {

void* handler_main(void* argument) {
  Handler& handler = *static_cast<Handler*>(argument);
  pthread_barrier_wait(&start_line);
  while (!stopping.load()) {
    process_commands(handler);
    nanosleep(&kTurn, nullptr);
  }
  pthread_barrier_wait(&finish_line);
  for (;;) pause();
}

}  // namespace

int main() {
  pthread_barrier_init(&start_line, nullptr, kHandlers + 1);
  pthread_barrier_init(&finish_line, nullptr, kHandlers + 1);
  for (int i = 0; i < kHandlers; ++i) {
    handlers[i].number = i;
    if (pthread_create(&handlers[i].thread, nullptr, handler_main, &handlers[i]) != 0) return 71;
  }
  target_say("ready");
  target_await("go");
  pthread_barrier_wait(&start_line);
  target_await("stop");
  stopping.store(true);
  pthread_barrier_wait(&finish_line);
  target_site sum = handlers[0].lost;
  for (int i = 1; i < kHandlers; ++i) {
    sum.live_bytes += handlers[i].lost.live_bytes;
    sum.live_count += handlers[i].lost.live_count;
    sum.total_bytes += handlers[i].lost.total_bytes;
    sum.total_count += handlers[i].lost.total_count;
    sum.freed_count += handlers[i].lost.freed_count;
  }
  target_say("done");
  target_say_ledger(&sum, 1);
  target_await_quit();
}
