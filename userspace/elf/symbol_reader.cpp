// SPDX-License-Identifier: Apache-2.0
#include "elf/symbol_reader.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "elf/libelf_handle.h"

namespace tidemark::elf {
namespace {

constexpr uint16_t kHiddenVersionBit = 0x8000;  // in .gnu.version

// Linkers store equal names and tails of names once, so that the names together may be longer than
// the string table. A hostile file could make them longer without limit.
constexpr std::size_t kMaxNameBytes = 64 * 1024;
constexpr std::size_t kMaxNamesPerStringByte = 16;
constexpr std::size_t kNamesAlwaysAllowedBytes = 1024 * 1024;

// The whole data of a section, or null if it cannot be had. The bytes live as long as the handle.
const Elf_Data* section_data(Elf_Scn* section) {
  return section == nullptr ? nullptr : elf_getdata(section, nullptr);
}

std::vector<GElf_Shdr> section_headers(Elf* elf) {
  std::vector<GElf_Shdr> headers(1);  // index 0 is no section
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header{};
    if (gelf_getshdr(section, &header) == nullptr) header = {};
    headers.push_back(header);
  }
  return headers;
}

// Empty if it is not there, has no end or is no name.
std::string_view string_at(const Elf_Data& strings, std::size_t offset) {
  if (strings.d_buf == nullptr || offset >= strings.d_size) return {};
  const std::string_view rest(static_cast<const char*>(strings.d_buf) + offset,
                              strings.d_size - offset);
  const auto end = rest.substr(0, kMaxNameBytes).find('\0');
  return end == std::string_view::npos ? std::string_view{} : rest.substr(0, end);
}

bool is_function(const GElf_Sym& symbol) {
  const auto type = GELF_ST_TYPE(symbol.st_info);
  return (type == STT_FUNC || type == STT_GNU_IFUNC) && symbol.st_shndx != SHN_UNDEF &&
         symbol.st_shndx != SHN_ABS && symbol.st_shndx != SHN_COMMON;
}

std::optional<Vaddr> end_of_section(const std::vector<GElf_Shdr>& headers, const GElf_Sym& symbol) {
  if (symbol.st_shndx >= SHN_LORESERVE || symbol.st_shndx >= headers.size()) return std::nullopt;
  const GElf_Shdr& header = headers[symbol.st_shndx];
  const GElf_Addr end = header.sh_addr + header.sh_size;
  const bool inside = header.sh_addr <= symbol.st_value && symbol.st_value < end;
  return inside ? std::optional(Vaddr{end}) : std::nullopt;
}

// What is needed to read one of the two symbol tables; `versions` only for .dynsym, and only if
// there is one.
struct Table {
  Elf_Data* symbols;
  const Elf_Data* strings;
  Elf_Data* versions;
};

std::string_view without_version(std::string_view name) {
  const auto at = name.find('@', 1);
  return at == std::string_view::npos ? name : name.substr(0, at);
}

Status append_functions(const Table& table, const std::vector<GElf_Shdr>& headers,
                        const NameFilter& wanted, std::vector<RawSymbol>& functions) {
  // The file is 64-bit (Image refuses others), so this is the size of an entry whatever sh_entsize
  // claims.
  const std::size_t count = table.symbols->d_size / sizeof(Elf64_Sym);
  std::size_t allowed_bytes =
      kNamesAlwaysAllowedBytes + table.strings->d_size * kMaxNamesPerStringByte;
  for (std::size_t i = 1; i < count; ++i) {
    GElf_Sym symbol;
    if (gelf_getsym(table.symbols, static_cast<int>(i), &symbol) == nullptr) break;
    if (!is_function(symbol)) continue;
    const std::string_view name = string_at(*table.strings, symbol.st_name);
    if (name.empty() || (wanted && !wanted(without_version(name)))) continue;
    if (name.size() > allowed_bytes) return fail("the names of symbols overlap too much");
    allowed_bytes -= name.size();
    GElf_Versym version = 0;
    if (table.versions != nullptr) {
      if (gelf_getversym(table.versions, static_cast<int>(i), &version) == nullptr) version = 0;
    }
    functions.push_back({.name = name,
                         .value = Vaddr{symbol.st_value},
                         .size_bytes = symbol.st_size,
                         .global = GELF_ST_BIND(symbol.st_info) != STB_LOCAL,
                         .ifunc = GELF_ST_TYPE(symbol.st_info) == STT_GNU_IFUNC,
                         .hidden_version = (version & kHiddenVersionBit) != 0,
                         .section_end = end_of_section(headers, symbol)});
  }
  return {};
}

Elf_Data* version_data(Elf* elf, const std::vector<GElf_Shdr>& headers, std::size_t symbols) {
  for (std::size_t i = 1; i < headers.size(); ++i) {
    if (headers[i].sh_type != SHT_GNU_versym || headers[i].sh_link != symbols) continue;
    return elf_getdata(elf_getscn(elf, i), nullptr);
  }
  return nullptr;
}

// It begins and ends with the end of a name.
bool is_table_of_names(const Elf_Data& strings) {
  const auto* bytes = static_cast<const char*>(strings.d_buf);
  return strings.d_size > 0 && bytes != nullptr && bytes[0] == 0 && bytes[strings.d_size - 1] == 0;
}

// A linked file has its symbols' names in a table of their own: a link to those of its sections is
// damage, and would give names that look like some. (Objects may have one table for both.)
Status check_names(Elf* elf, const std::vector<GElf_Shdr>& headers, std::size_t names) {
  GElf_Ehdr header;
  std::size_t of_sections = 0;
  if (names >= headers.size() || headers[names].sh_type != SHT_STRTAB)
    return fail("the symbols' names are in no table of names");
  if (gelf_getehdr(elf, &header) == nullptr || elf_getshdrstrndx(elf, &of_sections) != 0)
    return fail("cannot read the header: {}", elf_errmsg(-1));
  if (names == of_sections && header.e_type != ET_REL)
    return fail("the symbols' names are those of sections");
  return {};
}

// Only the first of each kind: a real file has one, a hostile one has thousands that all name the
// same bytes.
Status append_table(Elf* elf, uint32_t type, const std::vector<GElf_Shdr>& headers,
                    const NameFilter& wanted, std::vector<RawSymbol>& functions) {
  const auto found = std::ranges::find(headers, type, &GElf_Shdr::sh_type);
  if (found == headers.end()) return {};
  const auto index = static_cast<std::size_t>(found - headers.begin());
  Elf_Data* symbols = elf_getdata(elf_getscn(elf, index), nullptr);
  if (symbols == nullptr) return fail("cannot read the symbol table: {}", elf_errmsg(-1));
  if (symbols->d_buf == nullptr || symbols->d_type != ELF_T_SYM) return {};

  if (auto checked = check_names(elf, headers, found->sh_link); !checked) return checked;
  const Elf_Data* strings = section_data(elf_getscn(elf, found->sh_link));
  if (strings == nullptr) return fail("cannot read the names of symbols: {}", elf_errmsg(-1));
  if (!is_table_of_names(*strings)) return fail("the symbols' names are not where it is said");
  Elf_Data* versions = type == SHT_DYNSYM ? version_data(elf, headers, index) : nullptr;
  return append_functions({symbols, strings, versions}, headers, wanted, functions);
}

}  // namespace

Result<SymbolTable> read_symbols(const UniqueFd& file, const NameFilter& wanted) {
  const UniqueFd* one = &file;
  return read_symbols(std::span(&one, 1), wanted);
}

Result<SymbolTable> read_symbols(std::span<const UniqueFd* const> files, const NameFilter& wanted) {
  // Names point into libelf's data until the table has copied them.
  std::vector<ElfHandle> open;
  std::vector<RawSymbol> functions;
  for (const UniqueFd* file : files) {
    const bool is_first = file == files.front();
    auto elf = begin_elf(*file);
    if (!elf && is_first) return std::unexpected(elf.error());
    if (!elf) continue;
    const std::vector<GElf_Shdr> headers = section_headers(elf->get());
    const std::size_t before = functions.size();
    for (const uint32_t type : {SHT_SYMTAB, SHT_DYNSYM}) {
      const Status appended = append_table(elf->get(), type, headers, wanted, functions);
      if (appended) continue;
      if (is_first) return std::unexpected(appended.error());
      functions.resize(before);
      break;
    }
    open.push_back(*std::move(elf));
  }
  return SymbolTable(functions);
}

}  // namespace tidemark::elf
