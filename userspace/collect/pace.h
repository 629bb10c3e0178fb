// SPDX-License-Identifier: Apache-2.0
//
// How often something may be done that costs more than one can know ahead: so seldom that it takes
// no more than a share of one CPU. Pure; time is given.
#pragma once

#include <cstdint>

namespace tidemark::collect {

class Pace {
 public:
  // `share`: of one CPU, 0.002 for two thousandths.
  explicit Pace(double share) : share_(share) {}

  // The first time always, then as soon as what it cost the last time is made up for.
  [[nodiscard]] bool is_due(uint64_t now_ns) const { return now_ns >= next_ns_; }
  void done(uint64_t now_ns, uint64_t cpu_ns);

 private:
  double share_;
  uint64_t next_ns_ = 0;
};

}  // namespace tidemark::collect
