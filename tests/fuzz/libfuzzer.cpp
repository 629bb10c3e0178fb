// SPDX-License-Identifier: Apache-2.0
//
// One reader under libFuzzer: TIDEMARK_FUZZ_TARGET names it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "readers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  static const tidemark::fuzz::Target* const kTarget = [] {
    const auto targets = tidemark::fuzz::targets();
    const auto found =
        std::ranges::find(targets, TIDEMARK_FUZZ_TARGET, &tidemark::fuzz::Target::name);
    if (found == targets.end()) std::abort();
    return &*found;
  }();
  kTarget->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
