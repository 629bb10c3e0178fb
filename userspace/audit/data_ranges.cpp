// SPDX-License-Identifier: Apache-2.0
#include "audit/data_ranges.h"

#include <algorithm>

namespace tidemark::audit {
namespace {

constexpr uint64_t kMostData = 8 << 20;  // of a static program

}  // namespace

std::vector<model::AddressRange> data_of(const Target& target) {
  std::vector<model::AddressRange> ranges;
  uint64_t behind = 0;  // the end of a writable mapping of the file
  for (const model::Mapping& mapping : target.image.mappings) {
    const bool of_file = mapping.file.inode != 0 && mapping.path == target.module;
    const bool of_its_bss =
        mapping.file.inode == 0 && mapping.path.empty() && mapping.start.value == behind;
    if (!mapping.writable || (!of_file && !of_its_bss)) continue;
    behind = mapping.end.value;
    const uint64_t end = std::min(mapping.end.value, mapping.start.value + kMostData);
    if (of_its_bss && !ranges.empty() && ranges.back().end == mapping.start.value) {
      ranges.back().end = end;
    } else {
      ranges.push_back({mapping.start.value, end});
    }
  }
  return ranges;
}

}  // namespace tidemark::audit
