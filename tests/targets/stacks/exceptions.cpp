// SPDX-License-Identifier: Apache-2.0
//
// Allocations while an exception is in flight: in the handler that caught it, and in a destructor
// on its way there.
#include <cstdlib>

#include "stacks.h"

namespace {

struct Thrown {
  int number = 0;
};

TARGET_NOINLINE void leak_from_catch() {
  STACKS_LEAK(1140);
}

TARGET_NOINLINE void leak_from_unwinding() {
  STACKS_LEAK(1150);
}

struct Leaking {
  TARGET_NOINLINE ~Leaking() {
    if (leaks) leak_from_unwinding();
    STACKS_RETURN();
  }
  bool leaks = false;
};

TARGET_NOINLINE void throw_it(int number) {
  throw Thrown{number};
}

TARGET_NOINLINE void pass_exception(int number, bool leaks) {
  Leaking on_the_way;
  on_the_way.leaks = leaks;
  throw_it(number);
}

TARGET_NOINLINE void catch_exception(int number) {
  try {
    pass_exception(number, false);
  } catch (const Thrown& thrown) {
    if (thrown.number == number) leak_from_catch();
  }
}

TARGET_NOINLINE void catch_behind_destructor(int number) {
  try {
    pass_exception(number, true);
  } catch (const Thrown&) {
    STACKS_RETURN();
  }
}

}  // namespace

void run_catch() {
  for (int i = 0; i < STACKS_BLOCKS; ++i) catch_exception(i);
}

void run_unwinding() {
  for (int i = 0; i < STACKS_BLOCKS; ++i) catch_behind_destructor(i);
}
