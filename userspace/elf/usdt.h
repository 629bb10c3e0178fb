// SPDX-License-Identifier: Apache-2.0
//
// USDT probes: places that a program's author marked for tracers by the macros of <sys/sdt.h>. Each
// is a nop and a note in the section .note.stapsdt that says where it is, where its arguments lie
// then, and which counter (semaphore) tells the program that somebody looks.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "elf/address.h"
#include "elf/image.h"
#include "support/result.h"

namespace tidemark::elf {

// Where an argument lies when the probe is hit.
struct UsdtArgument {
  enum class Place { kConstant, kRegister, kMemory };  // kMemory: at a register plus `value`
  Place place = Place::kConstant;
  uint32_t register_number = 0;  // as DWARF counts them
  int64_t value = 0;
  uint32_t size_bytes = 8;  // 1, 2, 4 or 8
  bool is_signed = false;
  friend bool operator==(const UsdtArgument&, const UsdtArgument&) = default;
};

struct UsdtProbe {
  std::string provider;
  std::string name;
  FileOffset offset;
  std::optional<FileOffset> semaphore;
  std::string arguments;  // as the note has them: "8@%rdi -4@-20(%rbp) 8@$512"
};

// A note's bytes as numbers and names. Pure.
struct UsdtNote {
  Vaddr location;
  Vaddr base;  // where the linker thought that .stapsdt.base lies
  Vaddr semaphore;
  std::string provider;
  std::string name;
  std::string arguments;
};
// What is cut off or is no such note ends the list.
[[nodiscard]] std::vector<UsdtNote> parse_usdt_notes(std::span<const uint8_t> notes);

// All of the line, or none: a form that is not known (an index register, a symbol) is not guessed.
[[nodiscard]] std::optional<std::vector<UsdtArgument>> parse_usdt_arguments(std::string_view line);

// Those of this provider. Empty where the file has no such notes.
[[nodiscard]] Result<std::vector<UsdtProbe>> read_usdt_probes(const Image& image,
                                                              std::string_view provider);

}  // namespace tidemark::elf
