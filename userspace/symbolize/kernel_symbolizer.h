// SPDX-License-Identifier: Apache-2.0
//
// KernelSymbolizer: names for return addresses in the kernel and its modules. Owns the tables of
// symbols; those of a module that was unloaded are kept, so that what it left has a name. Lines
// come from KernelLines where it has them, and are kept as well. Not thread-safe.
#pragma once

#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "support/result.h"
#include "symbolize/kernel_lines.h"
#include "symbolize/kernel_symbols.h"
#include "symbolize/symbolizer.h"

namespace tidemark::symbolize {

class KernelSymbolizer final : public Symbolizer {
 public:
  // Without `lines` frames have none.
  explicit KernelSymbolizer(KernelSymbols symbols, std::optional<KernelLines> lines = std::nullopt);

  // The list as it is now; what only older lists have stays known.
  void learn(KernelSymbols symbols);
  // One frame an address; the owner is the kernel, whatever is said. Modules are in brackets.
  [[nodiscard]] std::vector<model::Frame> frames(
      model::Generation owner, std::span<const model::Address> return_addresses) override;
  [[nodiscard]] const KernelSymbols& symbols() const { return tables_.back(); }
  // Why frames of the kernel itself have no line; none where they have.
  [[nodiscard]] std::optional<std::string> why_no_lines();

 private:
  [[nodiscard]] const std::optional<elf::SourceLine>& line_of(const KernelFunction& function,
                                                              model::Address call);

  std::vector<KernelSymbols> tables_;  // newest last
  std::optional<KernelLines> lines_;
  std::unordered_map<uint64_t, std::optional<elf::SourceLine>> known_lines_;  // by call
};

// Without the hook's own frames and those of the allocator: what is left begins with its caller. A
// stack of nothing else stays whole.
[[nodiscard]] std::vector<model::Frame> from_caller(std::vector<model::Frame> frames);

}  // namespace tidemark::symbolize
