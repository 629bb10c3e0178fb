// SPDX-License-Identifier: Apache-2.0
//
// The return instructions through which a function comes back to its caller: found by following
// its paths, over the functions that it jumps to at its end (tail calls, `.cold` parts), through
// .plt. For functions that an exception may pass: the unwinder cannot pass the trampoline of a
// return probe, and the target aborts; a plain probe on a return instruction changes nothing on the
// stack.
//
//     operator new:  cmp ...     jae slow     ...  ret          <- site
//     slow:                      jmp fallback
//     fallback:                  call ...  test %rax,%rax  je oom  ...  ret     <- site
//
// Only code that a path leads to is decoded, within the bounds of functions that are known
// (symbols, .eh_frame_hdr), so that no probe is ever put into the middle of an instruction. Where a
// path ends at a jump through a register, what comes back from there is not seen; the caller learns
// of that. x86-64 only.
#pragma once

#include <string>
#include <vector>

#include "elf/address.h"
#include "elf/code_map.h"
#include "elf/image.h"
#include "support/result.h"

namespace tidemark::elf {

struct ReturnSites {
  std::vector<Vaddr> sites;       // ascending, at least one
  bool has_unknown_ways = false;  // some path ends at a jump that cannot be followed
};

// Errors: another machine, a function whose bounds are not known, no return instruction at all.
[[nodiscard]] Result<ReturnSites> find_return_sites(Image& image, const CodeMap& code,
                                                    const Symbol& function);

// The name of the function that this one is nothing but a jump to; empty if it is more. In the same
// file, or by the dynamic linker's choice.
[[nodiscard]] std::string jumps_at_once_to(Image& image, const CodeMap& code,
                                           const Symbol& function);

}  // namespace tidemark::elf
