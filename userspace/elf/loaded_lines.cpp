// SPDX-License-Identifier: Apache-2.0
#include "elf/loaded_lines.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>

#include "elf/build_id.h"

namespace tidemark::elf {
namespace {

constexpr Dwarf_Addr kNotLoaded = static_cast<Dwarf_Addr>(-1);

// What is asked back by libdwfl while it opens the file: where it is, and where its sections lie.
struct Asked {
  std::string path;
  SectionPlaces places;
};

int open_asked_file(Dwfl_Module*, void** user_data, const char*, Dwarf_Addr, char** file_name,
                    Elf**) {
  const auto* asked = static_cast<const Asked*>(*user_data);
  *file_name = ::strdup(asked->path.c_str());  // libdwfl frees it
  return ::open(asked->path.c_str(), O_RDONLY | O_CLOEXEC);
}

int no_other_file(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*,
                  GElf_Word, char**) {
  return -1;
}

int tell_section(Dwfl_Module*, void** user_data, const char*, Dwarf_Addr, const char* section,
                 GElf_Word, const GElf_Shdr*, Dwarf_Addr* address) {
  const auto* asked = static_cast<const Asked*>(*user_data);
  *address = asked->places(section).value_or(kNotLoaded);
  return DWARF_CB_OK;
}

constexpr Dwfl_Callbacks kCallbacks = {open_asked_file, no_other_file, tell_section, nullptr};

struct MemoryEnd {
  void operator()(Dwarf_Die* dies) const { std::free(dies); }  // says elfutils/libdw.h
};
using Dies = std::unique_ptr<Dwarf_Die, MemoryEnd>;

// The place where an inlined function would have been called.
std::optional<SourceLine> call_place(Dwarf_Die* unit, Dwarf_Die* inlined) {
  Dwarf_Attribute attribute;
  Dwarf_Word file = 0, line = 0;
  if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attribute), &file) != 0 ||
      dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attribute), &line) != 0)
    return std::nullopt;
  Dwarf_Files* files = nullptr;
  std::size_t count = 0;
  if (dwarf_getsrcfiles(unit, &files, &count) != 0 || file >= count) return std::nullopt;
  const char* name = dwarf_filesrc(files, file, nullptr, nullptr);
  if (name == nullptr) return std::nullopt;
  return SourceLine{name, static_cast<uint32_t>(line)};
}

// Where the code at `pc` is of a function that was inlined: the place in the function that has a
// symbol, which is the outermost one.
std::optional<SourceLine> call_of_inlined(Dwarf_Die* unit, Dwarf_Addr pc) {
  Dwarf_Die* list = nullptr;
  if (dwarf_getscopes(unit, pc, &list) <= 0) return std::nullopt;
  const Dies scopes(list);
  // Those of the abstract function follow there; these are around the code.
  const int count = dwarf_getscopes_die(scopes.get(), &list);
  if (count <= 0) return std::nullopt;
  const Dies around(list);
  Dwarf_Die* outermost = nullptr;
  for (Dwarf_Die& die : std::span(around.get(), static_cast<std::size_t>(count))) {
    if (dwarf_tag(&die) == DW_TAG_subprogram) break;
    if (dwarf_tag(&die) == DW_TAG_inlined_subroutine) outermost = &die;
  }
  return outermost == nullptr ? std::nullopt : call_place(unit, outermost);
}

}  // namespace

struct LoadedLines::State {
  Asked asked;
  Dwfl* dwfl = nullptr;
  Dwfl_Module* module = nullptr;
};

void LoadedLines::StateEnd::operator()(State* state) const {
  if (state->dwfl != nullptr) dwfl_end(state->dwfl);
  delete state;
}

Status LoadedLines::read_dwarf() const {
  Dwarf_Addr bias = 0;
  if (state_->module == nullptr || dwfl_module_getdwarf(state_->module, &bias) == nullptr)
    return fail("{}: {}", state_->asked.path, dwfl_errmsg(-1));
  return {};
}

Result<LoadedLines> LoadedLines::open(const std::string& path) {
  LoadedLines lines(std::unique_ptr<State, StateEnd>(new State{{path, {}}, nullptr, nullptr}));
  State& state = *lines.state_;
  state.dwfl = dwfl_begin(&kCallbacks);
  if (state.dwfl == nullptr) return fail("{}: {}", path, dwfl_errmsg(-1));
  dwfl_report_begin(state.dwfl);
  state.module = dwfl_report_elf(state.dwfl, path.c_str(), path.c_str(), -1, 0, true);
  dwfl_report_end(state.dwfl, nullptr, nullptr);
  if (const auto read = lines.read_dwarf(); !read) return std::unexpected(read.error());
  return lines;
}

// The range that is reported stands for nothing: sections lie where they lie.
Result<LoadedLines> LoadedLines::open_relocatable(const std::string& path, SectionPlaces places) {
  LoadedLines lines(
      std::unique_ptr<State, StateEnd>(new State{{path, std::move(places)}, nullptr, nullptr}));
  State& state = *lines.state_;
  const uint64_t text = state.asked.places(".text").value_or(0);
  state.dwfl = dwfl_begin(&kCallbacks);
  if (state.dwfl == nullptr) return fail("{}: {}", path, dwfl_errmsg(-1));
  dwfl_report_begin(state.dwfl);
  state.module = dwfl_report_module(state.dwfl, path.c_str(), text, text + 1);
  if (state.module != nullptr) {
    void** user_data = nullptr;
    dwfl_module_info(state.module, &user_data, nullptr, nullptr, nullptr, nullptr, nullptr,
                     nullptr);
    *user_data = &state.asked;
  }
  dwfl_report_end(state.dwfl, nullptr, nullptr);
  if (const auto read = lines.read_dwarf(); !read) return std::unexpected(read.error());
  return lines;
}

std::optional<SourceLine> LoadedLines::at(uint64_t address) const {
  Dwarf_Addr bias = 0;
  Dwarf_Die* unit = dwfl_module_addrdie(state_->module, address, &bias);
  if (unit == nullptr) return std::nullopt;
  if (auto call = call_of_inlined(unit, address - bias)) return call;
  Dwfl_Line* found = dwfl_module_getsrc(state_->module, address);
  if (found == nullptr) return std::nullopt;
  int line = 0;
  const char* file = dwfl_lineinfo(found, nullptr, &line, nullptr, nullptr, nullptr);
  if (file == nullptr || line <= 0) return std::nullopt;
  return SourceLine{file, static_cast<uint32_t>(line)};
}

std::optional<uint64_t> LoadedLines::address_of(std::string_view symbol) const {
  const int count = dwfl_module_getsymtab(state_->module);
  for (int i = 0; i < count; ++i) {
    GElf_Sym entry{};
    GElf_Addr address = 0;
    const char* name =
        dwfl_module_getsym_info(state_->module, i, &entry, &address, nullptr, nullptr, nullptr);
    if (name != nullptr && entry.st_shndx != SHN_UNDEF && symbol == name) return address;
  }
  return std::nullopt;
}

std::optional<std::string> LoadedLines::build_id() const {
  const unsigned char* bits = nullptr;
  GElf_Addr where = 0;
  const int size = dwfl_module_build_id(state_->module, &bits, &where);
  if (size <= 0) return std::nullopt;
  return lower_hex(std::span(bits, static_cast<std::size_t>(size)));
}

}  // namespace tidemark::elf
