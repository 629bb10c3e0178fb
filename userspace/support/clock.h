// SPDX-License-Identifier: Apache-2.0
//
// The two clocks of tidemark. Monotonic time is the clock of bpf_ktime_get_ns(), so that ages can
// be taken between the two sides; wall time is for people.
#pragma once

#include <cstdint>

namespace tidemark {

struct MonotonicTime {
  uint64_t ns = 0;
};
struct WallTime {
  uint64_t unix_ns = 0;
};

// Since boot, with the time asleep: what the kernel says when a process started.
struct BootTime {
  uint64_t ns = 0;
};
// That the calling thread has used so far.
struct CpuTime {
  uint64_t ns = 0;
};

[[nodiscard]] MonotonicTime monotonic_now();
[[nodiscard]] WallTime wall_now();
[[nodiscard]] BootTime boot_now();
[[nodiscard]] CpuTime thread_cpu_now();

}  // namespace tidemark
