// SPDX-License-Identifier: Apache-2.0
//
// Does a return probe kill a process under a seccomp filter? From Linux 6.11 on, on x86-64, the
// trampoline of a return probe is a system call of its own (uretprobe), which filters did not know
// until "seccomp: passthrough uretprobe systemcall without filtering" (cf6cb56ef244, 6.14 and
// stable kernels). Found out on a child of ours, never by version.
#pragma once

#include "kernel/facts.h"

namespace tidemark::kernel {

// Starts a child under the strictest filter, probes the return of a function of its own, and sees
// whether it lives. Not present also where that could not be tried. Takes some ten milliseconds.
[[nodiscard]] Fact try_return_probe_under_seccomp();

}  // namespace tidemark::kernel
