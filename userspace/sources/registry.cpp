// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "sources/shared.h"
#include "sources/source.h"
#include "sources/user_heap.h"
#include "sources/user_mapping.h"

namespace tidemark::sources {

std::span<const SourceRow> registry() {
  static constexpr std::array kRows = {SourceRow{"user_heap", open_user_heap},
                                       SourceRow{"user_mapping", open_user_mapping}};
  return kRows;
}

Result<std::vector<std::unique_ptr<Source>>> open_sources(const kernel::Facts& facts,
                                                          const Settings& settings) {
  Shared shared;
  std::vector<std::unique_ptr<Source>> opened;
  for (const SourceRow& row : registry()) {
    auto source = row.open(facts, settings, shared);
    if (!source) return std::unexpected(source.error());
    opened.push_back(std::move(*source));
  }
  return opened;
}

}  // namespace tidemark::sources
