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

// Of one process, and of several that have probes at the same place of a file: the kernel asks the
// probe of each whom it is for. That of a session has no word to say "not for this process, and no
// return wanted" (bpf_trace.c, uprobe_multi_link_handler()), so that the return is trapped, too.
struct TrapPrice {
  double entry_ns = 0;
  double return_ns = 0;           // a call whose entry is trapped for the return, and the return
  double further_entry_ns = 0;    // more, for each further process
  double further_session_ns = 0;  // the same for a call that a session sees, with its return
  double step_ns = 0;             // more, where the probed instruction is single-stepped
  bool measured = false;          // else what a slow machine pays

  // One trap at an entry, where so many processes have probes.
  [[nodiscard]] double entry(uint32_t processes) const {
    return entry_ns + (processes - 1) * further_entry_ns;
  }
  // Entry and return of a call.
  [[nodiscard]] double call(uint32_t processes) const {
    return return_ns + (processes - 1) * 2 * further_entry_ns;
  }
  // A call that a session sees, whose return is of no interest.
  [[nodiscard]] double session(uint32_t processes) const {
    return processes == 1 ? entry_ns : return_ns + (processes - 1) * further_session_ns;
  }
};

// Loaded. The helper is no target, so they find nothing to do.
struct TrapPrograms {
  const bpf_program* at_entry = nullptr;
  const bpf_program* at_return = nullptr;
  const bpf_program* session = nullptr;  // none where the kernel has none
};

// Takes some 300 ms.
[[nodiscard]] TrapPrice measure_trap_price(bpfrt::ProbeKeeper& keeper, UprobeMethod method,
                                           const TrapPrograms& programs);

}  // namespace tidemark::sources
