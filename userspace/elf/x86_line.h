// SPDX-License-Identifier: Apache-2.0
//
// What one x86-64 instruction means to a probe, by Zydis. Private to elf/; probe_site.cpp has the
// rules.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "elf/address.h"

namespace tidemark::elf::x86 {

enum class Flow {
  kNext,        // only ever goes on to the next instruction
  kJumpIfZero,  // je, jz
  kLeaves,      // any other branch, call, return, trap or system call
};

struct Instruction {
  uint32_t length_bytes = 0;
  bool emulated = false;  // by the kernel's uprobes, since they are there
  bool long_nop = false;  // a nop with operands or a prefix, emulated since 6.16
  Flow flow = Flow::kNext;
  std::bitset<16> registers_written;  // bit n: general register n of the encoding, at any width
  // A copy of one whole register to another: mov rsi, rdi.
  struct Copy {
    uint8_t to = 0;
    uint8_t from = 0;
  };
  std::optional<Copy> copy;
  bool frame_pointer_written = false;
  bool tests_argument_0 = false;  // sets the zero flag if and only if rdi is 0
  // How far the stack pointer goes down; none: it changes in a way that is not followed.
  std::optional<uint32_t> stack_growth_bytes = 0;
};

// Decodes the first instruction of `code`; none if there is no whole valid one.
[[nodiscard]] std::optional<Instruction> decode(std::span<const uint8_t> code);

// Intel syntax; empty if it cannot be decoded. `address` is that of the instruction.
[[nodiscard]] std::string text(std::span<const uint8_t> code, Vaddr address);

// The lowest offset above 0 that a direct branch in `code` leads to, from a linear sweep over all
// of it.
[[nodiscard]] std::optional<uint32_t> first_branch_target(std::span<const uint8_t> code);

// Where control goes from an instruction.
enum class Way {
  kOn,               // to the next one; calls too: they come back
  kBranch,           // there or to `target`
  kJump,             // to `target`
  kJumpThroughSlot,  // to the address that is kept at `target`
  kJumpAnywhere,     // through a register, a table
  kReturn,
  kEnds,  // a trap
};

struct Step {
  uint32_t length_bytes = 0;
  Way way = Way::kOn;
  Vaddr target;
};

// The first instruction of `code`, which lies at `address`.
[[nodiscard]] std::optional<Step> step(std::span<const uint8_t> code, Vaddr address);

// If `code` is a stub of .plt (a jump through a slot, perhaps behind an endbr64): its slot.
[[nodiscard]] std::optional<Vaddr> stub_slot(std::span<const uint8_t> code, Vaddr address);

[[nodiscard]] const char* argument_register(std::size_t argument);
// Its number in the encoding.
[[nodiscard]] uint8_t argument_register_number(std::size_t argument);

}  // namespace tidemark::elf::x86
