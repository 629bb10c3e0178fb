// SPDX-License-Identifier: Apache-2.0
#include "sources/code_tables.h"

#include "sources/unwind_rules.h"

namespace tidemark::sources {

std::vector<std::optional<TableFacts>> facts_of_tables(const model::ProcessImage& image) {
  constexpr model::Generation kOnly{1};
  UnwindRules rules;
  // Nothing was known before, so nothing was replaced.
  (void)rules.learn(kOnly, image);
  std::vector<std::optional<TableFacts>> facts;
  facts.reserve(image.mappings.size());
  for (const model::Mapping& mapping : image.mappings)
    facts.push_back(rules.table_at(kOnly, mapping.start));
  return facts;
}

}  // namespace tidemark::sources
