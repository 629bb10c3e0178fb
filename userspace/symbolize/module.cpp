// SPDX-License-Identifier: Apache-2.0
#include "symbolize/module.h"

#include "elf/return_address.h"
#include "symbolize/demangle.h"

namespace tidemark::symbolize {

bool Module::is_uncalled(elf::Vaddr return_address) {
  if (elf::is_signal_return(image_, return_address)) return true;
  const elf::Symbol* function = symbols().covering(return_address);
  return function != nullptr && function->value == return_address &&
         symbols().covering({return_address.value - 1}) == nullptr &&
         !elf::may_follow_call(image_, return_address);
}

elf::Vaddr Module::place_of(elf::Vaddr return_address) {
  const auto [entry, is_new] = places_.try_emplace(return_address, return_address);
  if (is_new && !is_uncalled(return_address)) --entry->second.value;
  return entry->second;
}

const std::optional<Module::Name>& Module::name_at(elf::Vaddr address) {
  const auto [entry, is_new] = names_.try_emplace(address);
  if (!is_new) return entry->second;
  if (elf::is_signal_return(image_, address)) {
    entry->second = Name{std::string(elf::kSignalReturnName), 0};
  } else if (const elf::Symbol* symbol = symbols().covering(address)) {
    entry->second = Name{demangle(symbol->name), address.value - symbol->value.value};
  }
  return entry->second;
}

const DebugFile* Module::debug_file() {
  if (!searched_) {
    searched_ = true;
    std::vector<const TargetRoot*> roots;
    for (const SharedRoot& root : roots_) roots.push_back(root.get());
    debug_file_ = find_debug_file(image_, path_, roots);
    if (!debug_file_ && servers_) debug_file_ = ask_for_debug_file(image_, *servers_);
  }
  return debug_file_ ? &*debug_file_ : nullptr;
}

SymbolSource Module::symbol_source() {
  using Kind = SymbolSource::Kind;
  const auto own = elf::read_debug_sections(image_.file());
  if (own && own->symbols) return {Kind::kSymtab, std::nullopt};
  if (const DebugFile* debug = debug_file()) {
    const auto sections = elf::read_debug_sections(debug->file);
    if (sections && sections->symbols) return {Kind::kDebugFile, debug->path};
  }
  if (own && own->packed_symbols && elf::unpack_symbols(image_.file()))
    return {Kind::kPacked, std::nullopt};
  return {symbols().all().empty() ? Kind::kNone : Kind::kExported, std::nullopt};
}

elf::SymbolTable& Module::symbols() {
  if (symbols_) return *symbols_;
  const auto own = elf::read_debug_sections(image_.file());
  const DebugFile* debug = own && own->symbols ? nullptr : debug_file();
  auto table = image_.all_functions(debug != nullptr ? &debug->file : nullptr);
  // Damaged symbol tables are like none: the frames stay without a function.
  return symbols_.emplace(table ? *std::move(table) : elf::SymbolTable());
}

const UniqueFd* Module::file_with_lines() {
  const auto has_lines = [](const UniqueFd& file) {
    const auto sections = elf::read_debug_sections(file);
    return sections && sections->lines;
  };
  if (has_lines(image_.file())) return &image_.file();
  const DebugFile* debug = debug_file();
  return debug != nullptr && has_lines(debug->file) ? &debug->file : nullptr;
}

std::span<const elf::SourceFrame> Module::lines_at(elf::Vaddr address) const {
  const auto found = lines_.find(address);
  if (found == lines_.end()) return {};
  return found->second;
}

bool Module::wants_lines(elf::Vaddr address) const {
  return !no_more_lines_ && !lines_.contains(address);
}

std::optional<std::string> Module::learn_lines(std::span<const elf::Vaddr> addresses,
                                               const LineBudget& budget) {
  const UniqueFd* file = file_with_lines();
  if (file == nullptr) {
    no_more_lines_ = true;
    return std::nullopt;
  }
  LineAnswers answers = ask_lines(*file, addresses, budget);
  for (std::size_t at = 0; at < addresses.size(); ++at) {
    if (!answers.frames[at]) continue;
    for (elf::SourceFrame& frame : *answers.frames[at]) {
      if (frame.function) frame.function = demangle(*frame.function);
    }
    lines_.insert_or_assign(addresses[at], *std::move(answers.frames[at]));
  }
  no_more_lines_ = answers.end == LineEnd::kFailed;
  if (answers.end == LineEnd::kDone) return std::nullopt;
  return std::move(answers.reason);
}

}  // namespace tidemark::symbolize
