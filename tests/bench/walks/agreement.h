// SPDX-License-Identifier: Apache-2.0
//
// Agreement: what three walks of the same stack came to, and why they differ or stop short. A is
// the walk in userspace over what BPF hands over (sources/stack_walk.h), B the walk in BPF, and
// libdwfl is neither of ours. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "bpf/abi/heap.h"
#include "sources/stack_walk.h"
#include "walks/walk_by_libdwfl.h"
#include "walks/walk_in_bpf.h"

namespace tidemark::bench {

// What a walk stood before at an address.
struct Spot {
  tm_rule rule{};
  bool in_file = false;
  std::string name;  // for a person: file+0x123, or function
};

struct WalkedThrice {
  const sources::WalkedStack& a;
  const WalkedInBpf& b;
  const WalkedByLibdwfl& libdwfl;
  bool a_was_cut = false;  // the stack is larger than what is handed over
};

struct Cause {
  uint64_t count = 0;
  std::vector<std::string> examples;  // a few
};
using Causes = std::map<std::string, Cause>;

class Agreement {
 public:
  using SpotOf = std::function<Spot(uint64_t return_address)>;

  void add(const WalkedThrice& walked, const SpotOf& spot_of);

  uint64_t stacks = 0;
  uint64_t frames = 0;
  uint64_t lookups = 0;    // of rules, by B
  uint64_t a_cut = 0;      // stacks of which A had a part only
  uint64_t at_limit = 0;   // of TM_STACK_DEPTH frames, and going on
  uint64_t at_bottom = 0;  // by B, where the unwind data says so
  uint64_t agreed = 0;     // by all three, on every frame that they walked
  std::size_t deepest = 0;
  Causes not_at_bottom;
  Causes differing;
  std::map<std::string, uint64_t> outermost;  // the frame at the bottom -> stacks
  [[nodiscard]] uint64_t distinct() const { return ids_.size(); }

 private:
  void add_end(const WalkedInBpf& b, const SpotOf& spot_of);
  void add_difference(const std::vector<uint64_t>& b, const WalkedByLibdwfl& libdwfl,
                      const SpotOf& spot_of);

  std::unordered_set<uint64_t> ids_;
};

}  // namespace tidemark::bench
