// SPDX-License-Identifier: Apache-2.0
//
// SharedMaps: BPF objects that are loaded one after the other use the same maps, found by name. The
// first one to be loaded makes them. Holds descriptors of its own.
#pragma once

#include <map>
#include <string>

#include "support/result.h"
#include "support/unique_fd.h"

struct bpf_object;

namespace tidemark::bpfrt {

class SharedMaps {
 public:
  // Every map of a loaded object; its global variables are its own.
  [[nodiscard]] Status offer(const bpf_object* loaded);
  // Before an object is loaded: its maps are those that were offered, as far as the names are the
  // same. A map that the first object did without is not made here either.
  [[nodiscard]] Status adopt(bpf_object* object) const;

 private:
  std::map<std::string, UniqueFd> maps_;
};

}  // namespace tidemark::bpfrt
