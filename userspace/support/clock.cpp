// SPDX-License-Identifier: Apache-2.0
#include "support/clock.h"

#include <ctime>

namespace tidemark {
namespace {

uint64_t read_clock(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

MonotonicTime monotonic_now() {
  return {read_clock(CLOCK_MONOTONIC)};
}
WallTime wall_now() {
  return {read_clock(CLOCK_REALTIME)};
}
BootTime boot_now() {
  return {read_clock(CLOCK_BOOTTIME)};
}
CpuTime thread_cpu_now() {
  return {read_clock(CLOCK_THREAD_CPUTIME_ID)};
}

}  // namespace tidemark
