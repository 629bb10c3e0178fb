// SPDX-License-Identifier: Apache-2.0
#include "elf/source_lines.h"

#include <dwarf.h>
#include <elfutils/libdw.h>

#include <algorithm>
#include <iterator>

#include "elf/dwarf_unit.h"
#include "elf/libelf_handle.h"

namespace tidemark::elf {
namespace {

constexpr std::size_t kLookBack = 16;  // units whose code begins before the right one's

struct DwarfEnd {
  void operator()(Dwarf* dwarf) const { dwarf_end(dwarf); }
};

struct UnitRange {
  CodeRange range;
  std::size_t unit = 0;
};

std::optional<uint32_t> number_of(Dwarf_Die& die, unsigned name) {
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  if (dwarf_attr(&die, name, &attribute) == nullptr) return std::nullopt;
  if (dwarf_formudata(&attribute, &value) != 0 || value > UINT32_MAX) return std::nullopt;
  return static_cast<uint32_t>(value);
}

std::optional<std::string> text_of(const char* text) {
  if (text == nullptr || *text == 0) return std::nullopt;
  return text;
}

// The line in which the address was compiled.
void set_own_line(Dwarf_Die& unit, uint64_t address, SourceFrame& frame) {
  Dwarf_Line* line = dwarf_getsrc_die(&unit, address);
  if (line == nullptr) return;
  frame.file = text_of(dwarf_linesrc(line, nullptr, nullptr));
  int number = 0;
  if (dwarf_lineno(line, &number) == 0 && number > 0) frame.line = static_cast<uint32_t>(number);
}

// The line from which `callee` was called before it was inlined.
void set_call_line(Dwarf_Die& unit, Dwarf_Die& callee, SourceFrame& frame) {
  if (const auto line = number_of(callee, DW_AT_call_line); line && *line > 0) frame.line = line;
  const auto file = number_of(callee, DW_AT_call_file);
  Dwarf_Files* files = nullptr;
  std::size_t count = 0;
  if (!file || dwarf_getsrcfiles(&unit, &files, &count) != 0 || *file >= count) return;
  frame.file = text_of(dwarf_filesrc(files, *file, nullptr, nullptr));
}

}  // namespace

struct SourceLines::State {
  ElfHandle elf;
  std::unique_ptr<Dwarf, DwarfEnd> dwarf;  // goes before what it reads from
  std::vector<DwarfUnit> units;
  std::vector<UnitRange> ranges;  // by start

  void find_units() {
    Dwarf_CU* unit = nullptr;
    Dwarf_Die skeleton{};
    Dwarf_Die split{};
    uint8_t kind = 0;
    while (dwarf_get_units(dwarf.get(), unit, &unit, nullptr, &kind, &skeleton, &split) == 0) {
      const bool has_code = kind == DW_UT_compile || kind == DW_UT_skeleton;
      if (!has_code || unit == nullptr) continue;
      for (const CodeRange& range : ranges_of(skeleton)) ranges.push_back({range, units.size()});
      const bool is_split = kind == DW_UT_skeleton && split.addr != nullptr;
      units.emplace_back(skeleton, is_split ? split : skeleton);
    }
    std::ranges::stable_sort(ranges, {}, [](const UnitRange& each) { return each.range.start; });
  }

  DwarfUnit* unit_at(uint64_t address) {
    auto next = std::ranges::upper_bound(ranges, address, {},
                                         [](const UnitRange& each) { return each.range.start; });
    for (std::size_t back = 0; next != ranges.begin() && back < kLookBack; ++back) {
      --next;
      if (address < next->range.end) return &units[next->unit];
    }
    return nullptr;
  }
};

SourceLines::SourceLines(std::unique_ptr<State> state) : state_(std::move(state)) {}
SourceLines::SourceLines(SourceLines&&) noexcept = default;
SourceLines& SourceLines::operator=(SourceLines&&) noexcept = default;
SourceLines::~SourceLines() = default;

Result<SourceLines> SourceLines::open(const UniqueFd& file) {
  if (elf_version(EV_CURRENT) == EV_NONE) return fail("libelf is too old");
  auto state = std::make_unique<State>();
  // Mapped, since debug files are large and little of one is read.
  state->elf.reset(elf_begin(file.get(), ELF_C_READ_MMAP, nullptr));
  if (!state->elf) return fail("cannot read as ELF: {}", elf_errmsg(-1));
  state->dwarf.reset(dwarf_begin_elf(state->elf.get(), DWARF_C_READ, nullptr));
  if (!state->dwarf) return fail("cannot read its DWARF: {}", dwarf_errmsg(-1));
  return SourceLines(std::move(state));
}

void SourceLines::set_out_of_memory_handler(void (*handler)()) {
  dwarf_new_oom_handler(state_->dwarf.get(), handler);
}

std::vector<SourceFrame> SourceLines::at(Vaddr address) {
  if (state_->units.empty()) state_->find_units();
  DwarfUnit* unit = state_->unit_at(address.value);
  if (unit == nullptr) return {};
  std::vector<Dwarf_Die> chain = unit->chain_at(address.value);
  std::vector<SourceFrame> frames;
  if (chain.empty()) {
    set_own_line(unit->skeleton(), address.value, frames.emplace_back());
    if (!frames.front().file) frames.clear();
    return frames;
  }
  for (std::size_t at = chain.size(); at-- > 0;) {
    SourceFrame& frame = frames.emplace_back();
    frame.function = unit->name_of(chain[at]);
    frame.inlined = at > 0;
    if (at + 1 == chain.size()) {
      set_own_line(unit->skeleton(), address.value, frame);
    } else {
      set_call_line(unit->skeleton(), chain[at + 1], frame);
    }
  }
  return frames;
}

}  // namespace tidemark::elf
