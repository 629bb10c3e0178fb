// SPDX-License-Identifier: Apache-2.0
//
// Regions: where code was in one address space, over its whole life. What vanished stays, since old
// stacks still point there, until something else is mapped over it; of a region that is half
// covered the other half stays. A pure value. Private to symbolize/.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "model/ids.h"

namespace tidemark::symbolize {

class Module;  // an opened file

struct Region {
  model::Address start;
  model::Address end;                // first address behind it
  uint64_t file_offset_bytes = 0;    // of `start`
  std::string path{};                // as the target sees it; empty for anonymous memory
  std::shared_ptr<Module> module{};  // null: not a file, or it could not be opened

  friend bool operator==(const Region&, const Region&) = default;
};

class Regions {
 public:
  // The newer wins wherever it overlaps older ones. Empty regions are ignored.
  void add(Region region);
  // Null if nothing was ever there. Valid until the next add().
  [[nodiscard]] const Region* at(model::Address address) const;

 private:
  void cut_out(model::Address start, model::Address end);

  std::map<model::Address, Region> regions_;  // by start; disjoint
};

}  // namespace tidemark::symbolize
