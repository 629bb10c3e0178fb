// SPDX-License-Identifier: Apache-2.0
//
// SourceLines: from an address in code to file, line and the calls that the compiler inlined there,
// by the DWARF of an ELF file (also a separate debug file), through libdw.
//
// Units are found by their own ranges and not by .debug_aranges, which clang leaves out. Of a unit
// that is asked for, the functions are indexed once. libdw is not made for hostile files: it may
// crash, never end or take all memory on one. Use it in a process that may be lost, as
// symbolize/line_worker does. It maps the file: one that is cut off meanwhile is a SIGBUS.
// Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "elf/address.h"
#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark::elf {

struct SourceFrame {
  std::optional<std::string> function;  // as linked (mangled), else with its scopes ("a::b")
  std::optional<std::string> file;      // as the compiler was told, with its directory
  std::optional<uint32_t> line;
  bool inlined = false;
};

class SourceLines {
 public:
  // Errors: not ELF, no DWARF. `file` must stay open as long as this lives.
  [[nodiscard]] static Result<SourceLines> open(const UniqueFd& file);
  SourceLines(SourceLines&&) noexcept;
  SourceLines& operator=(SourceLines&&) noexcept;
  ~SourceLines();

  // Innermost first; the last one is the function whose code this is, all before it were inlined.
  // Each has the line in it that was reached. Empty where nothing is known.
  [[nodiscard]] std::vector<SourceFrame> at(Vaddr address);

  // Called where memory ends; must not return.
  void set_out_of_memory_handler(void (*handler)());

 private:
  struct State;
  explicit SourceLines(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tidemark::elf
