// SPDX-License-Identifier: Apache-2.0
#include "symbolize/kernel_symbols.h"

#include <algorithm>
#include <unordered_map>

#include "support/strings.h"

namespace tidemark::symbolize {
namespace {

// No function is as long as this: what lies further behind a symbol is no part of it.
constexpr uint64_t kLongestFunction = 1 << 20;

bool is_code(std::string_view type) {
  return type == "t" || type == "T" || type == "w" || type == "W";
}

// Of several names for one place the one that people know: without leading underscores, then the
// shorter one, as for functions of programs.
bool is_better(std::string_view name, std::string_view than) {
  const auto underscores = [](std::string_view text) { return text.find_first_not_of('_'); };
  return std::pair(underscores(name), name.size()) < std::pair(underscores(than), than.size());
}

}  // namespace

Result<KernelSymbols> KernelSymbols::parse(std::string_view kallsyms) {
  KernelSymbols table;
  std::unordered_map<std::string_view, uint16_t> modules;
  bool hidden = false;
  for_each_line(kallsyms, [&](std::string_view line) {
    const auto address = parse_number<uint64_t>(next_word(line), 16);
    const std::string_view type = next_word(line);
    const std::string_view name = next_word(line);
    std::string_view module = next_word(line);
    if (!address || name.empty()) return;
    hidden |= *address == 0;
    if (*address == 0) return;
    if (module.size() > 2) module = module.substr(1, module.size() - 2);
    uint16_t number = 0;
    if (!module.empty()) {
      const auto [found, is_new] =
          modules.emplace(module, static_cast<uint16_t>(table.modules_.size()));
      if (is_new) table.modules_.emplace_back(module);
      number = found->second;
    }
    table.symbols_.push_back(
        {*address, static_cast<uint32_t>(table.names_.size()), number, is_code(type)});
    table.names_.append(name).push_back('\0');
  });
  if (table.symbols_.empty()) {
    return hidden ? fail("/proc/kallsyms hides the kernel's addresses: run as root")
                  : fail("/proc/kallsyms names no function");
  }
  std::ranges::stable_sort(table.symbols_, {}, &Symbol::address);
  return table;
}

std::optional<KernelFunction> KernelSymbols::find(model::Address address) const {
  auto next = std::ranges::upper_bound(symbols_, address.value, {}, &Symbol::address);
  const Symbol* best = nullptr;
  while (next != symbols_.begin()) {
    --next;
    if (best != nullptr && next->address != best->address) break;
    if (!next->code) continue;
    if (best == nullptr || is_better(&names_[next->name], &names_[best->name])) best = &*next;
  }
  if (best == nullptr || address.value - best->address > kLongestFunction) return std::nullopt;
  return KernelFunction{&names_[best->name], modules_[best->module], address.value - best->address};
}

std::optional<model::Address> KernelSymbols::address_of(std::string_view name) const {
  for (const Symbol& symbol : symbols_) {
    if (std::string_view(&names_[symbol.name]) == name) return model::Address{symbol.address};
  }
  return std::nullopt;
}

}  // namespace tidemark::symbolize
