// SPDX-License-Identifier: Apache-2.0
//
// The part of harm.c that needs C++: out of operator new by an exception, and by a new-handler that
// does not come back.
#include <csetjmp>
#include <new>

#include "target.h"

namespace {

constexpr std::size_t kTooMuch = std::size_t{1} << 62;
std::jmp_buf way_out;

void jump_out() {
  std::longjmp(way_out, 1);
}

}  // namespace

extern "C" const void* const harm_nothrow = &std::nothrow;

// What did not happen, or NULL.
extern "C" const char* harm_leave_early() {
  // Kept from the compiler, which knows that nobody can have so much.
  volatile std::size_t much = kTooMuch;
  bool thrown = false;
  try {
    TARGET_USE(::operator new(much));
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  if (!thrown) return "exception";
  std::set_new_handler(jump_out);
  volatile bool jumped = false;
  if (setjmp(way_out) == 0) {
    TARGET_USE(::operator new(much));
  } else {
    jumped = true;
  }
  std::set_new_handler(nullptr);
  return jumped ? nullptr : "longjmp";
}
