// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "sources/source.h"
#include "sources/user_heap.h"

namespace tidemark::sources {

std::span<const SourceRow> registry() {
  static constexpr std::array kRows = {SourceRow{"user_heap", open_user_heap}};
  return kRows;
}

}  // namespace tidemark::sources
