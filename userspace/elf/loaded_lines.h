// SPDX-License-Identifier: Apache-2.0
//
// LoadedLines: source files and lines of addresses in what the kernel has loaded, by the DWARF in
// one ELF file, which unlike elf/source_lines.h may be relocatable. Owns the file as libdwfl holds
// it: sections are read, relocated and uncompressed on first use and then kept. For files that root
// installed; of a damaged one it gives no lines. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "support/result.h"

namespace tidemark::elf {

struct SourceLine {
  std::string file;  // as the compiler was given it, with the directory where DWARF has one
  uint32_t line = 0;
};

// Where a section of a relocatable file was loaded; none: it was not.
using SectionPlaces = std::function<std::optional<uint64_t>(std::string_view section)>;

class LoadedLines {
 public:
  // A program or a library: its addresses are the file's own. Errors: cannot be read, not ELF, or
  // without DWARF.
  [[nodiscard]] static Result<LoadedLines> open(const std::string& path);
  // A relocatable file, as kernel modules are: its addresses are those of its sections.
  [[nodiscard]] static Result<LoadedLines> open_relocatable(const std::string& path,
                                                            SectionPlaces places);

  // In the function that a symbol names: what was inlined into it counts as its call there.
  [[nodiscard]] std::optional<SourceLine> at(uint64_t address) const;
  [[nodiscard]] std::optional<uint64_t> address_of(std::string_view symbol) const;
  // Lower-case hex.
  [[nodiscard]] std::optional<std::string> build_id() const;

 private:
  struct State;
  struct StateEnd {
    void operator()(State* state) const;
  };
  explicit LoadedLines(std::unique_ptr<State, StateEnd> state) : state_(std::move(state)) {}
  [[nodiscard]] Status read_dwarf() const;

  std::unique_ptr<State, StateEnd> state_;
};

}  // namespace tidemark::elf
