// SPDX-License-Identifier: Apache-2.0
//
// Allocations in a C++20 coroutine, also in one that another one resumes.
#include <coroutine>
#include <cstdlib>

#include "stacks.h"

namespace {

struct Task {
  struct promise_type {
    Task get_return_object() {
      return Task{std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
  std::coroutine_handle<promise_type> handle;
};

TARGET_NOINLINE void leak_from_coroutine() {
  STACKS_LEAK(1160);
}

TARGET_NOINLINE void resume(Task task) {
  task.handle.resume();
  STACKS_RETURN();
}

Task inner_coroutine() {
  for (;;) {
    leak_from_coroutine();
    co_await std::suspend_always{};
  }
}

Task outer_coroutine(Task inner) {
  for (;;) {
    resume(inner);
    co_await std::suspend_always{};
  }
}

}  // namespace

void run_coroutine() {
  const Task inner = inner_coroutine();
  const Task outer = outer_coroutine(inner);
  for (int i = 0; i < STACKS_BLOCKS; ++i) resume(outer);
  outer.handle.destroy();
  inner.handle.destroy();
}
