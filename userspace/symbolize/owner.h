// SPDX-License-Identifier: Apache-2.0
//
// Owner: what is known of one address space: where code was in it, which file systems its process
// sees, and the names of what it compiled itself. Private to symbolize/.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "model/process.h"
#include "support/target_root.h"
#include "symbolize/perf_map.h"
#include "symbolize/regions.h"

namespace tidemark::symbolize {

using SharedRoot = std::shared_ptr<const TargetRoot>;

struct Owner {
  Regions regions;
  model::Pid pid;
  std::optional<model::Pid> inner_pid;
  std::optional<uint32_t> user;
  std::vector<SharedRoot> roots;  // its own first, then ours; one where they are the same

  // The map is read when it is first needed, and again after it may have grown.
  bool compiled_is_stale = true;
  PerfMap compiled{};
  [[nodiscard]] const PerfMap& compiled_functions();
};

}  // namespace tidemark::symbolize
