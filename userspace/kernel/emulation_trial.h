// SPDX-License-Identifier: Apache-2.0
//
// Which instructions does the kernel emulate under a uprobe, and which does it single-step out of
// line, at several times the price? A task that takes its first single step gets an area to step
// in, a mapping called [uprobes] that is not there before: so a helper of ours runs probed
// instructions and looks into its own maps. x86-64 only; elsewhere not present, with that reason.
#pragma once

#include "kernel/facts.h"

namespace tidemark::kernel {

struct EmulationTrial {
  Fact jumps;      // push, nop (90), jmp, jcc and call
  Fact long_nops;  // nop with operands, except that of five bytes, which may become a call
};

// Takes some ten milliseconds; the helper ends by itself a little later.
[[nodiscard]] EmulationTrial try_emulation();

}  // namespace tidemark::kernel
