// SPDX-License-Identifier: Apache-2.0
//
// Keeps 64 blocks of 100 bytes: malloc is called by a function that is inlined into one that is
// inlined into keep_all(). The ledger says on which lines, innermost first.
#include "target.h"

namespace inlined {

struct Keeper {
  __attribute__((always_inline)) void keep_one() { kept[count++] = malloc(100); }
  static constexpr int kLine = __LINE__ - 1;
  void* kept[64] = {};
  int count = 0;
};

__attribute__((always_inline)) static inline void keep_next(Keeper& keeper) {
  keeper.keep_one();
}
constexpr int kNextLine = __LINE__ - 2;

TARGET_NOINLINE void keep_all(Keeper& keeper) {
  while (keeper.count < 64) {
    keep_next(keeper);
  }
  TARGET_USE(&keeper);
}
constexpr int kAllLine = __LINE__ - 4;

}  // namespace inlined

int main() {
  static inlined::Keeper keeper;
  target_say("ready");
  target_await("go");
  inlined::keep_all(keeper);
  target_say("done");
  target_add("{\"lines\":[%d,%d,%d]}", inlined::Keeper::kLine, inlined::kNextLine,
             inlined::kAllLine);
  target_say(target_text);
  target_await_quit();
}
