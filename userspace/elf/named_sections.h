// SPDX-License-Identifier: Apache-2.0
//
// The sections of an ELF file by name. Private to elf/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "elf/libelf_handle.h"

namespace tidemark::elf {

struct NamedSection {
  Elf_Scn* section = nullptr;
  GElf_Shdr header{};
  std::string_view name;
};

// Calls `each` with every section that has a name, until it returns false. Errors: the names cannot
// be read; more sections than any file has.
template <typename Each>
Status for_each_section(Elf* elf, Each each) {
  constexpr std::size_t kMaxSections = 1u << 20;
  std::size_t names = 0;
  if (elf_getshdrstrndx(elf, &names) != 0) return fail("section names: {}", elf_errmsg(-1));
  std::size_t count = 0;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    if (++count > kMaxSections) return fail("more than {} sections", kMaxSections);
    NamedSection named{.section = section, .header = {}, .name = {}};
    if (gelf_getshdr(section, &named.header) == nullptr) continue;
    const char* name = elf_strptr(elf, names, named.header.sh_name);
    if (name == nullptr) continue;
    named.name = name;
    if (!each(named)) break;
  }
  return {};
}

// As they stand in the file; libelf's, gone with its descriptor. Empty: they cannot be read.
[[nodiscard]] inline std::span<const uint8_t> raw_bytes(Elf_Scn* section) {
  const Elf_Data* data = elf_rawdata(section, nullptr);
  if (data == nullptr || data->d_buf == nullptr) return {};
  return {static_cast<const uint8_t*>(data->d_buf), data->d_size};
}

}  // namespace tidemark::elf
