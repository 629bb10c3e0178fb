// SPDX-License-Identifier: Apache-2.0
//
// OwnClock: time as a traced program has it, its CPU time without what tracing takes. A window
// slows a busy program down, so births per second of a wall clock are too few in windows, by as
// much as the program was slowed down; per second of its own work they are as many as ever. So
// windows are estimated from on this clock, and what comes out is told per second of the wall
// clock, by how far both went over the trace.
//
// Where the program sleeps its own time stands still; a thousandth of the wall clock is added, so
// that what happens later is later. Pure values; times are ns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/windows.h"

namespace tidemark::model {

class OwnClock {
 public:
  // At wall-clock times in order. What is later than the last one is as late as that.
  void set(uint64_t at_ns, uint64_t own_ns);
  [[nodiscard]] bool is_empty() const { return points_.empty(); }

  // 1 at the first reading, and no earlier.
  [[nodiscard]] uint64_t at(uint64_t at_ns) const;
  [[nodiscard]] Window at(const Window& window) const {
    return {at(window.start_ns), at(window.end_ns)};
  }

 private:
  struct Point {
    uint64_t at_ns = 0;
    uint64_t own_ns = 0;
  };
  std::vector<Point> points_;
};

}  // namespace tidemark::model
