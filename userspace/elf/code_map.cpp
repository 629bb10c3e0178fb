// SPDX-License-Identifier: Apache-2.0
#include "elf/code_map.h"

#include <algorithm>
#include <cstring>

#include "elf/libelf_handle.h"

namespace tidemark::elf {
namespace {

// Relocations that write a function's address into a slot.
bool fills_slot(Machine machine, uint64_t type) {
  switch (machine) {
    case Machine::kX86_64:
      return type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT;
    case Machine::kArm64:
      return type == R_AARCH64_JUMP_SLOT || type == R_AARCH64_GLOB_DAT;
    case Machine::kOther:
      break;
  }
  return false;
}

void add_slots(Elf* elf, Elf_Scn* section, const GElf_Shdr& header, Machine machine,
               std::map<Vaddr, std::string>& slots) {
  Elf_Data* relocations = elf_getdata(section, nullptr);
  Elf_Scn* symbol_section = elf_getscn(elf, header.sh_link);
  GElf_Shdr symbol_header;
  if (relocations == nullptr || symbol_section == nullptr ||
      gelf_getshdr(symbol_section, &symbol_header) == nullptr) {
    return;
  }
  Elf_Data* symbols = elf_getdata(symbol_section, nullptr);
  if (symbols == nullptr) return;
  const std::size_t count = relocations->d_size / sizeof(Elf64_Rela);
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Rela relocation;
    GElf_Sym symbol;
    if (gelf_getrela(relocations, static_cast<int>(i), &relocation) == nullptr) return;
    if (!fills_slot(machine, GELF_R_TYPE(relocation.r_info))) continue;
    const auto index = static_cast<int>(GELF_R_SYM(relocation.r_info));
    if (gelf_getsym(symbols, index, &symbol) == nullptr) continue;
    const char* name = elf_strptr(elf, symbol_header.sh_link, symbol.st_name);
    if (name != nullptr && *name != '\0') slots.emplace(Vaddr{relocation.r_offset}, name);
  }
}

std::map<Vaddr, std::string> read_slots(Elf* elf, Machine machine) {
  std::map<Vaddr, std::string> slots;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_type != SHT_RELA) continue;
    add_slots(elf, section, header, machine, slots);
  }
  return slots;
}

struct TableHeader {
  uint8_t version;
  uint8_t frame_encoding;
  uint8_t count_encoding;
  uint8_t table_encoding;
  int32_t frame_pointer;
  uint32_t count;
};
static_assert(sizeof(TableHeader) == 12);

// As all linkers write it: DW_EH_PE_udata4, and DW_EH_PE_datarel | DW_EH_PE_sdata4.
constexpr uint8_t kCountEncoding = 0x03;
constexpr uint8_t kTableEncoding = 0x3b;
constexpr std::size_t kRowBytes = 8;  // start of the function, place of its description

std::vector<Vaddr> starts_in(const Image& image, const GElf_Phdr& segment) {
  const Vaddr base{segment.p_vaddr};
  TableHeader header;
  const auto head = image.bytes_at(base, sizeof(header));
  if (!head) return {};
  std::memcpy(&header, head->data(), sizeof(header));
  const uint64_t room = (segment.p_filesz - sizeof(header)) / kRowBytes;
  if (header.version != 1 || header.count_encoding != kCountEncoding ||
      header.table_encoding != kTableEncoding || segment.p_filesz < sizeof(header) ||
      header.count > room) {
    return {};
  }
  const auto table =
      image.bytes_at(Vaddr{base.value + sizeof(header)}, std::size_t{header.count} * kRowBytes);
  if (!table) return {};
  std::vector<Vaddr> starts;
  for (std::size_t row = 0; row < header.count; ++row) {
    int32_t distance = 0;
    std::memcpy(&distance, table->data() + row * kRowBytes, sizeof(distance));
    starts.push_back(Vaddr{base.value + static_cast<uint64_t>(int64_t{distance})});
  }
  std::ranges::sort(starts);
  return starts;
}

std::vector<Vaddr> read_starts(Elf* elf, const Image& image) {
  std::size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0) return {};
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Phdr segment;
    if (gelf_getphdr(elf, static_cast<int>(i), &segment) == nullptr) return {};
    if (segment.p_type == PT_GNU_EH_FRAME) return starts_in(image, segment);
  }
  return {};
}

}  // namespace

CodeMap::CodeMap(std::vector<Vaddr> starts, std::map<Vaddr, std::string> slots)
    : starts_(std::move(starts)), slots_(std::move(slots)) {}

Result<CodeMap> CodeMap::open(const Image& image) {
  const auto elf = begin_elf(image.file());
  if (!elf) return std::unexpected(elf.error());
  return CodeMap(read_starts(elf->get(), image), read_slots(elf->get(), image.machine()));
}

std::optional<CodeRange> CodeMap::function_around(Vaddr address) const {
  const auto next = std::ranges::upper_bound(starts_, address);
  if (next == starts_.begin() || next == starts_.end()) return std::nullopt;
  return CodeRange{*std::prev(next), *next};
}

std::optional<std::string_view> CodeMap::symbol_in_slot(Vaddr slot) const {
  const auto found = slots_.find(slot);
  if (found == slots_.end()) return std::nullopt;
  return found->second;
}

}  // namespace tidemark::elf
