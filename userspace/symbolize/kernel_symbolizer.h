// SPDX-License-Identifier: Apache-2.0
//
// KernelSymbolizer: names for return addresses in the kernel and its modules. Owns the tables of
// symbols; those of a module that was unloaded are kept, so that what it left has a name. Knows no
// lines: the kernel's DWARF is not read. Not thread-safe.
#pragma once

#include <span>
#include <vector>

#include "support/result.h"
#include "symbolize/kernel_symbols.h"
#include "symbolize/symbolizer.h"

namespace tidemark::symbolize {

class KernelSymbolizer final : public Symbolizer {
 public:
  explicit KernelSymbolizer(KernelSymbols symbols);

  // The list as it is now; what only older lists have stays known.
  void learn(KernelSymbols symbols);
  // One frame an address; the owner is the kernel, whatever is said. Modules are in brackets.
  [[nodiscard]] std::vector<model::Frame> frames(
      model::Generation owner, std::span<const model::Address> return_addresses) override;
  [[nodiscard]] const KernelSymbols& symbols() const { return tables_.back(); }

 private:
  std::vector<KernelSymbols> tables_;  // newest last
};

// Without the hook's own frames and those of the allocator: what is left begins with its caller. A
// stack of nothing else stays whole.
[[nodiscard]] std::vector<model::Frame> from_caller(std::vector<model::Frame> frames);

}  // namespace tidemark::symbolize
