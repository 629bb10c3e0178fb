// SPDX-License-Identifier: Apache-2.0
//
// What a probe costs on this machine, by itself: into the kernel and back. Machines differ by five
// times (mitigations, virtualization), so it is measured, on a helper of ours that runs a function
// of two instructions with and without a probe.
#pragma once

#include "bpfrt/probe_keeper.h"
#include "support/uprobe.h"

struct bpf_program;

namespace tidemark::sources {

struct TrapPrice {
  double entry_ns = 0;
  double return_ns = 0;
  bool measured = false;  // else what a slow machine pays
};

// Programs for an entry and for a return, loaded; the helper is no target, so they find nothing to
// do. Takes some 200 ms.
[[nodiscard]] TrapPrice measure_trap_price(bpfrt::ProbeKeeper& keeper, UprobeMethod method,
                                           const bpf_program* at_entry,
                                           const bpf_program* at_return);

}  // namespace tidemark::sources
