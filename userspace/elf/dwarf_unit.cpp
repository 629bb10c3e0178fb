// SPDX-License-Identifier: Apache-2.0
#include "elf/dwarf_unit.h"

#include <dwarf.h>

#include <algorithm>
#include <iterator>

namespace tidemark::elf {
namespace {

constexpr std::size_t kMaxDepth = 64;         // of scopes
constexpr std::size_t kMaxChain = 256;        // of calls inlined into each other
constexpr std::size_t kMaxScopeBytes = 4096;  // of the names of scopes together
constexpr std::size_t kLookBack = 16;         // ranges that begin before the right one

bool holds_functions(int tag) {
  switch (tag) {
    case DW_TAG_namespace:
    case DW_TAG_module:
    case DW_TAG_class_type:
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
    case DW_TAG_enumeration_type:
    case DW_TAG_interface_type:
      return true;
    default:
      return false;
  }
}

bool may_hold_inlined(int tag) {
  return tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block ||
         tag == DW_TAG_try_block || tag == DW_TAG_catch_block;
}

// The DIE that says more about this one, or none.
std::optional<Dwarf_Die> origin_of(Dwarf_Die& die) {
  for (const unsigned name : {DW_AT_abstract_origin, DW_AT_specification}) {
    Dwarf_Attribute attribute;
    Dwarf_Die origin;
    if (dwarf_attr(&die, name, &attribute) != nullptr &&
        dwarf_formref_die(&attribute, &origin) != nullptr) {
      return origin;
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<CodeRange> ranges_of(Dwarf_Die& die) {
  std::vector<CodeRange> ranges;
  Dwarf_Addr base = 0;
  Dwarf_Addr start = 0;
  Dwarf_Addr end = 0;
  for (ptrdiff_t at = 0; (at = dwarf_ranges(&die, at, &base, &start, &end)) > 0;) {
    if (start != 0 && start < end) ranges.push_back({start, end});
  }
  return ranges;
}

struct DwarfUnit::Open {
  Dwarf_Die child;
  uint32_t scope = 0;
};

uint32_t DwarfUnit::inner_scope(Dwarf_Die& die, uint32_t scope) {
  const char* name = dwarf_diename(&die);
  // Types without a name say nothing; a namespace without one is known by this word.
  if (name == nullptr && dwarf_tag(&die) != DW_TAG_namespace) return scope;
  std::string text = scopes_[scope] + (name != nullptr ? name : "(anonymous namespace)") + "::";
  if (text.size() > kMaxScopeBytes) return scope;
  scopes_.push_back(std::move(text));
  return static_cast<uint32_t>(scopes_.size() - 1);
}

void DwarfUnit::visit(Dwarf_Die& die, uint32_t scope, std::vector<Open>& open) {
  const int tag = dwarf_tag(&die);
  Dwarf_Die child;
  if (tag == DW_TAG_subprogram) {
    if (scope != 0) declared_in_.emplace(dwarf_dieoffset(&die), scope);
    for (const CodeRange& range : ranges_of(die)) functions_.push_back({range, die});
  } else if (holds_functions(tag) && open.size() < kMaxDepth && dwarf_child(&die, &child) == 0) {
    open.push_back({child, inner_scope(die, scope)});
  }
}

void DwarfUnit::index() {
  indexed_ = true;
  scopes_.emplace_back();
  std::vector<Open> open;
  Dwarf_Die child;
  if (dwarf_child(&tree_, &child) == 0) open.push_back({child, 0});
  while (!open.empty()) {
    Open current = open.back();
    if (dwarf_siblingof(&open.back().child, &open.back().child) != 0) open.pop_back();
    visit(current.child, current.scope, open);
  }
  std::ranges::stable_sort(functions_, {},
                           [](const Function& function) { return function.range.start; });
}

std::vector<Dwarf_Die> DwarfUnit::chain_at(uint64_t address) {
  if (!indexed_) index();
  std::vector<Dwarf_Die> chain;
  auto next = std::ranges::upper_bound(
      functions_, address, {}, [](const Function& function) { return function.range.start; });
  for (std::size_t back = 0; next != functions_.begin() && back < kLookBack; ++back) {
    --next;
    if (address >= next->range.end) continue;
    chain.push_back(next->die);
    break;
  }
  if (chain.empty()) return chain;
  Dwarf_Die child;
  int more = dwarf_child(&chain.front(), &child);
  while (more == 0 && chain.size() < kMaxChain) {
    const int tag = dwarf_tag(&child);
    if (!may_hold_inlined(tag) || dwarf_haspc(&child, address) <= 0) {
      more = dwarf_siblingof(&child, &child);
      continue;
    }
    if (tag == DW_TAG_inlined_subroutine) chain.push_back(child);
    Dwarf_Die inner = child;
    more = dwarf_child(&inner, &child);
  }
  return chain;
}

std::optional<std::string> DwarfUnit::name_of(Dwarf_Die& function) const {
  Dwarf_Attribute attribute;
  for (const unsigned linkage : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name}) {
    if (dwarf_attr_integrate(&function, linkage, &attribute) == nullptr) continue;
    const char* name = dwarf_formstring(&attribute);
    if (name != nullptr && *name != 0) return name;
  }
  const char* name = dwarf_diename(&function);
  if (name == nullptr || *name == 0) return std::nullopt;
  constexpr int kMostHops = 4;
  std::optional<Dwarf_Die> die = function;
  for (int hop = 0; die && hop < kMostHops; ++hop) {
    const auto scope = declared_in_.find(dwarf_dieoffset(&*die));
    if (scope != declared_in_.end()) return scopes_[scope->second] + name;
    die = origin_of(*die);
  }
  return name;
}

}  // namespace tidemark::elf
