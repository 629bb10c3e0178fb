// SPDX-License-Identifier: Apache-2.0
//
// Windows at random times, as a governor with a steady target would open them. One gap in four is
// drawn from all lengths between the shortest one and the mean, each order of magnitude alike, so
// that the differences of their times cover all ages.
#pragma once

#include <cstdint>
#include <vector>

#include "model/windows.h"

namespace tidemark::test {

struct WindowPlan {
  double duty = 0.02;  // of the time, with the time that attaching and detaching take
  uint64_t attach_ns = 10'000'000;
  uint64_t detach_ns = 50'000'000;
  uint64_t least_window_ns = 100'000'000;
  uint64_t seed = 1;
};

// Windows that begin and end in [from, to), in order. Over any length of time they take up at most
// `duty` of it and three windows more: gaps that would break this are stretched. A duty at which
// the gaps would be as short as detaching takes makes windows longer.
[[nodiscard]] std::vector<model::Window> plan_windows(const WindowPlan& plan, uint64_t from_ns,
                                                      uint64_t to_ns);

}  // namespace tidemark::test
