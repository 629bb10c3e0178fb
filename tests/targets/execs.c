// SPDX-License-Identifier: Apache-2.0
//
// Answer: before_exec() leaks 10 blocks of 100 bytes, then the process executes itself; the second
// image's after_exec() leaks 7 blocks of 50 bytes after its own `go`. Only the second ledger holds
// in the end: exec leaves nothing of the old image.
#include "target.h"

static struct target_site site = {"", 0, 0, 0, 0, 0};

TARGET_NOINLINE void before_exec(void) {
  void* block = malloc(100);
  TARGET_USE(block);
  target_born(&site, 100);
}

TARGET_NOINLINE void after_exec(void) {
  void* block = malloc(50);
  TARGET_USE(block);
  target_born(&site, 50);
}

static void say_ledger(const char* function) {
  site.function = function;
  target_say("done");
  target_say_ledger(&site, 1);
}

int main(int argc, char** argv) {
  const int is_second = argc > 1 && strcmp(argv[1], "again") == 0;
  target_say("ready");
  target_await("go");
  if (is_second) {
    for (int i = 0; i < 7; ++i) after_exec();
    say_ledger("after_exec");
    target_await_quit();
  }
  for (int i = 0; i < 10; ++i) before_exec();
  say_ledger("before_exec");
  target_await("exec");
  char* const arguments[] = {argv[0], (char[]){"again"}, NULL};
  execv("/proc/self/exe", arguments);
  return 71;
}
