// SPDX-License-Identifier: Apache-2.0
//
// Where in a function a uprobe goes. The kernel emulates a few instructions and single-steps all
// others out of line, at three to sixteen times the price; so the best site is the first emulated
// instruction that every call passes while the arguments are still in their registers.
//
//     free:  test %rdi,%rdi   +0  single-stepped: 15 us a hit in a virtual machine
//            je   return      +3
//            push %rbp        +9  emulated: 1 us, and free(NULL) costs nothing   <- here
//
// A site must leave the probe's program all it needs: its arguments, each in its register or in one
// that it was copied to (mimalloc puts another in front, and all move on by one), rbp as the caller
// left it (the frame-pointer walk starts there) and a known distance to the return address. A
// return probe besides needs the return address on top of the stack: one push later the kernel
// would write its trampoline over a saved register.
//
// Pure functions over bytes; thread-safe; nothing fails: where no better site is known the entry is
// the answer, and the verdict says why. Not seen: branches into the entry block from another part
// of the function (`.cold`) and through jump tables; no compiler we know emits either into
// straight-line code ahead of the first branch.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "elf/address.h"
#include "elf/image.h"
#include "support/result.h"

namespace tidemark::elf {

using ArgumentSet = std::bitset<6>;  // bit n: integer argument n (rdi, rsi, rdx, rcx, r8, r9)

enum class ReturnProbe { kNone, kSharesSite };
// Calls whose argument 0 is NULL: free() does nothing then.
enum class NullCalls { kWanted, kUninteresting };

// Whether this kernel emulates nops with operands.
enum class LongNops { kStepped, kEmulated };

struct ProbeNeeds {
  ArgumentSet arguments;
  ReturnProbe return_probe = ReturnProbe::kNone;
  NullCalls null_calls = NullCalls::kWanted;
  LongNops long_nops = LongNops::kStepped;
};

// kBeginning: the function may go on behind the bytes, so that a branch back cannot be ruled out
// and only the entry is safe.
enum class Extent { kWholeFunction, kBeginning };

struct FunctionCode {
  Machine machine = Machine::kOther;
  Vaddr start;
  std::span<const uint8_t> bytes;
  Extent extent = Extent::kWholeFunction;
};

// A register by its number in the x86-64 encoding, plus one; 0: that of the calling convention.
using MovedTo = uint8_t;
inline constexpr std::size_t kFollowedArguments = 3;

struct ProbeSite {
  uint32_t offset_bytes = 0;  // from the function's start
  // From the stack pointer at the site up to the slot of the return address; 0 at entry.
  uint32_t stack_bytes = 0;
  bool emulated = false;
  // Where the first arguments are at the site, where a copy is all that is left of one.
  std::array<MovedTo, kFollowedArguments> moved{};
  std::string instruction{};  // Intel syntax; empty if it cannot be decoded
  std::string verdict{};      // why here, for a person; never empty
};

[[nodiscard]] ProbeSite choose_probe_site(const FunctionCode& code, const ProbeNeeds& needs);

// The first instruction, whatever it costs.
[[nodiscard]] ProbeSite entry_probe_site(const FunctionCode& code);

// The same for a function of an image. Errors: its bytes cannot be read.
[[nodiscard]] Result<ProbeSite> choose_probe_site(const Image& image, const Symbol& function,
                                                  const ProbeNeeds& needs);
[[nodiscard]] Result<ProbeSite> entry_probe_site(const Image& image, const Symbol& function);

}  // namespace tidemark::elf
