// SPDX-License-Identifier: Apache-2.0
#include "elf/usdt.h"

#include <elf.h>
#include <gelf.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "elf/named_sections.h"

namespace tidemark::elf {
namespace {

constexpr uint32_t kNoteType = 3;  // NT_STAPSDT
constexpr std::string_view kNoteName{"stapsdt\0", 8};
constexpr std::string_view kNotes = ".note.stapsdt";
constexpr std::string_view kBase = ".stapsdt.base";

// By DWARF's number, in each of the widths: the System V ABI for x86-64, figure 3.36.
struct RegisterNames {
  std::array<std::string_view, 4> names;
};
constexpr std::array<RegisterNames, 16> kRegisters = {{
    {{"rax", "eax", "ax", "al"}},
    {{"rdx", "edx", "dx", "dl"}},
    {{"rcx", "ecx", "cx", "cl"}},
    {{"rbx", "ebx", "bx", "bl"}},
    {{"rsi", "esi", "si", "sil"}},
    {{"rdi", "edi", "di", "dil"}},
    {{"rbp", "ebp", "bp", "bpl"}},
    {{"rsp", "esp", "sp", "spl"}},
    {{"r8", "r8d", "r8w", "r8b"}},
    {{"r9", "r9d", "r9w", "r9b"}},
    {{"r10", "r10d", "r10w", "r10b"}},
    {{"r11", "r11d", "r11w", "r11b"}},
    {{"r12", "r12d", "r12w", "r12b"}},
    {{"r13", "r13d", "r13w", "r13b"}},
    {{"r14", "r14d", "r14w", "r14b"}},
    {{"r15", "r15d", "r15w", "r15b"}},
}};

std::optional<uint32_t> register_number(std::string_view name) {
  for (uint32_t number = 0; number < kRegisters.size(); ++number) {
    if (std::ranges::find(kRegisters[number].names, name) != kRegisters[number].names.end())
      return number;
  }
  return std::nullopt;
}

// Decimal or, behind 0x, hexadecimal; the whole word.
std::optional<int64_t> number_of(std::string_view word) {
  const bool negative = word.starts_with('-');
  if (negative) word.remove_prefix(1);
  const bool hex = word.starts_with("0x");
  if (hex) word.remove_prefix(2);
  uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(word.data(), word.data() + word.size(), value, hex ? 16 : 10);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return static_cast<int64_t>(negative ? 0 - value : value);
}

std::optional<UsdtArgument> parse_argument(std::string_view word) {
  const std::size_t at = word.find('@');
  const auto size = number_of(word.substr(0, at));
  if (at == std::string_view::npos || !size) return std::nullopt;
  UsdtArgument argument;
  argument.is_signed = *size < 0;
  argument.size_bytes = static_cast<uint32_t>(*size < 0 ? -*size : *size);
  constexpr std::array kSizes = {1u, 2u, 4u, 8u};
  if (std::ranges::find(kSizes, argument.size_bytes) == kSizes.end()) return std::nullopt;
  std::string_view place = word.substr(at + 1);
  if (place.starts_with('$')) {
    const auto value = number_of(place.substr(1));
    if (!value) return std::nullopt;
    argument.value = *value;
    return argument;
  }
  const std::size_t open = place.find('(');
  if (open != std::string_view::npos) {
    if (!place.ends_with(')')) return std::nullopt;
    const auto offset = open == 0 ? std::optional<int64_t>(0) : number_of(place.substr(0, open));
    if (!offset) return std::nullopt;
    argument.place = UsdtArgument::Place::kMemory;
    argument.value = *offset;
    place = place.substr(open + 1, place.size() - open - 2);
  } else {
    argument.place = UsdtArgument::Place::kRegister;
  }
  if (!place.starts_with('%')) return std::nullopt;
  const auto number = register_number(place.substr(1));
  if (!number) return std::nullopt;
  argument.register_number = *number;
  return argument;
}

struct Section {
  GElf_Shdr header;
  Elf_Data* data = nullptr;
};

std::optional<Section> section_named(Elf* elf, std::string_view name) {
  std::optional<Section> found;
  const Status walked = for_each_section(elf, [&](const NamedSection& section) {
    if (section.name == name) found = {section.header, elf_rawdata(section.section, nullptr)};
    return !found;
  });
  return walked ? found : std::nullopt;
}

// The text up to its 0, which is taken off; none where there is none.
std::optional<std::string> take_text(std::span<const uint8_t>& bytes) {
  const auto end = std::ranges::find(bytes, uint8_t{0});
  if (end == bytes.end()) return std::nullopt;
  std::string text(bytes.begin(), end);
  bytes = bytes.subspan(text.size() + 1);
  return text;
}

std::optional<UsdtNote> parse_note(std::span<const uint8_t> body) {
  std::array<uint64_t, 3> numbers{};
  if (body.size() < sizeof(numbers)) return std::nullopt;
  std::memcpy(numbers.data(), body.data(), sizeof(numbers));
  body = body.subspan(sizeof(numbers));
  UsdtNote note{Vaddr{numbers[0]}, Vaddr{numbers[1]}, Vaddr{numbers[2]}, {}, {}, {}};
  for (std::string* text : {&note.provider, &note.name, &note.arguments}) {
    auto taken = take_text(body);
    if (!taken) return std::nullopt;
    *text = std::move(*taken);
  }
  return note;
}

}  // namespace

std::vector<UsdtNote> parse_usdt_notes(std::span<const uint8_t> notes) {
  std::vector<UsdtNote> parsed;
  Elf64_Nhdr header;
  const auto padded = [](uint64_t size) { return (size + 3) / 4 * 4; };
  while (notes.size() >= sizeof(header)) {
    std::memcpy(&header, notes.data(), sizeof(header));
    const uint64_t body_at = sizeof(header) + padded(header.n_namesz);
    const uint64_t end = body_at + header.n_descsz;
    if (end > notes.size()) break;
    const bool is_probe =
        header.n_type == kNoteType && header.n_namesz == kNoteName.size() &&
        std::memcmp(notes.data() + sizeof(header), kNoteName.data(), kNoteName.size()) == 0;
    if (is_probe) {
      auto note = parse_note(notes.subspan(body_at, header.n_descsz));
      if (!note) break;
      parsed.push_back(std::move(*note));
    }
    if (padded(end) >= notes.size()) break;
    notes = notes.subspan(padded(end));
  }
  return parsed;
}

std::optional<std::vector<UsdtArgument>> parse_usdt_arguments(std::string_view line) {
  std::vector<UsdtArgument> arguments;
  while (!line.empty()) {
    const std::size_t end = std::min(line.find(' '), line.size());
    if (end > 0) {
      const auto argument = parse_argument(line.substr(0, end));
      if (!argument) return std::nullopt;
      arguments.push_back(*argument);
    }
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return arguments;
}

Result<std::vector<UsdtProbe>> read_usdt_probes(const Image& image, std::string_view provider) {
  std::vector<UsdtProbe> probes;
  const auto elf = begin_elf(image.file());
  if (!elf) return std::unexpected(elf.error());
  const auto notes = section_named(elf->get(), kNotes);
  if (!notes || notes->data == nullptr) return probes;
  const auto base = section_named(elf->get(), kBase);
  const std::span bytes(static_cast<const uint8_t*>(notes->data->d_buf), notes->data->d_size);
  for (UsdtNote& note : parse_usdt_notes(bytes)) {
    if (note.provider != provider) continue;
    // prelink moves code and leaves notes as they are; the base tells by how much.
    const uint64_t moved = base ? base->header.sh_addr - note.base.value : 0;
    const auto offset = image.to_file_offset(Vaddr{note.location.value + moved});
    if (!offset) return fail("the place of {}:{} lies outside the file", note.provider, note.name);
    UsdtProbe probe{note.provider, note.name, *offset, {}, note.arguments};
    if (note.semaphore.value != 0)
      probe.semaphore = image.to_file_offset(Vaddr{note.semaphore.value + moved});
    probes.push_back(std::move(probe));
  }
  return probes;
}

}  // namespace tidemark::elf
