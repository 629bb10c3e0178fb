// SPDX-License-Identifier: Apache-2.0
//
// Runs the call frame instructions of one range of code (DWARF 5, 6.4.2) and tells the rules that
// they give. Of the registers it follows those that a FrameRule can name. Pure.
#pragma once

#include <cstdint>
#include <functional>

#include "elf/frame_entries.h"
#include "unwind/frame_rule.h"

namespace tidemark::unwind {

// The rule that holds from `address` on, up to the next that is told. Addresses rise.
using RuleSink = std::function<void(uint64_t address, const FrameRule& rule)>;

// False where an instruction made no sense: what was told until then holds, what follows is
// kUnsupported to the end.
[[nodiscard]] bool run_frame_program(const elf::FrameCommon& common, const elf::FrameEntry& entry,
                                     const RuleSink& sink);

}  // namespace tidemark::unwind
