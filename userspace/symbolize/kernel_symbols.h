// SPDX-License-Identifier: Apache-2.0
//
// KernelSymbols: the kernel's own list of its functions (/proc/kallsyms) as a table. Pure: text in.
// Addresses of a module's functions lie between those of no other, so an address past a module's
// end is told from one in it only as well as the list does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/ids.h"
#include "support/result.h"

namespace tidemark::symbolize {

struct KernelFunction {
  std::string_view name;
  std::string_view module;  // "" for the kernel itself
  uint64_t offset = 0;
};

class KernelSymbols {
 public:
  // An error where the text lists no function, or hides all addresses (kptr_restrict).
  [[nodiscard]] static Result<KernelSymbols> parse(std::string_view kallsyms);

  // The function that an address lies in; views into this table.
  [[nodiscard]] std::optional<KernelFunction> find(model::Address address) const;
  // Where a function or (CONFIG_KALLSYMS_ALL) a variable lies.
  [[nodiscard]] std::optional<model::Address> address_of(std::string_view name) const;

 private:
  struct Symbol {
    uint64_t address = 0;
    uint32_t name = 0;  // where in names_; it ends with a 0
    uint16_t module = 0;
    bool code = false;
  };

  std::vector<Symbol> symbols_;  // ascending by address, one for each
  std::string names_;
  std::vector<std::string> modules_ = {""};
};

}  // namespace tidemark::symbolize
