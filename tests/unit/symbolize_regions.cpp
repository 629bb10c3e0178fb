// SPDX-License-Identifier: Apache-2.0
//
// What was mapped where, over the life of a process, said with literals.
#include "symbolize/regions.h"

#include <doctest/doctest.h>

using namespace tidemark;
using model::Address;
using symbolize::Region;
using symbolize::Regions;

namespace {

Region region(uint64_t start, uint64_t end, uint64_t offset, const char* path) {
  return {.start = Address{start}, .end = Address{end}, .file_offset_bytes = offset, .path = path};
}

std::string path_at(const Regions& regions, uint64_t address) {
  const Region* found = regions.at(Address{address});
  return found == nullptr ? "" : found->path;
}

uint64_t offset_at(const Regions& regions, uint64_t address) {
  const Region* found = regions.at(Address{address});
  REQUIRE(found != nullptr);
  return found->file_offset_bytes + (address - found->start.value);
}

}  // namespace

TEST_CASE("regions end where they end") {
  Regions regions;
  CHECK(regions.at(Address{0}) == nullptr);
  regions.add(region(0x1000, 0x2000, 0x500, "a"));
  CHECK(path_at(regions, 0xfff).empty());
  CHECK(path_at(regions, 0x1000) == "a");
  CHECK(path_at(regions, 0x1fff) == "a");
  CHECK(path_at(regions, 0x2000).empty());
  CHECK(offset_at(regions, 0x1010) == 0x510);
}

TEST_CASE("the newer wins, what it leaves of the older stays with its offsets") {
  Regions regions;
  regions.add(region(0x1000, 0x5000, 0x10000, "old"));
  regions.add(region(0x2000, 0x3000, 0, "new"));
  CHECK(path_at(regions, 0x1fff) == "old");
  CHECK(path_at(regions, 0x2000) == "new");
  CHECK(path_at(regions, 0x3000) == "old");
  CHECK(offset_at(regions, 0x1000) == 0x10000);
  CHECK(offset_at(regions, 0x3004) == 0x12004);
  CHECK(offset_at(regions, 0x2004) == 4);
}

TEST_CASE("a new region over several old ones") {
  Regions regions;
  regions.add(region(0x1000, 0x2000, 0, "a"));
  regions.add(region(0x2000, 0x3000, 0, "b"));
  regions.add(region(0x4000, 0x5000, 0x100, "c"));
  regions.add(region(0x1800, 0x4800, 0, "over"));
  CHECK(path_at(regions, 0x17ff) == "a");
  CHECK(path_at(regions, 0x1800) == "over");
  CHECK(path_at(regions, 0x2800) == "over");
  CHECK(path_at(regions, 0x47ff) == "over");
  CHECK(path_at(regions, 0x4800) == "c");
  CHECK(offset_at(regions, 0x4800) == 0x900);
}

TEST_CASE("the same again changes nothing, empty ones neither") {
  Regions regions;
  regions.add(region(0x1000, 0x2000, 0, "a"));
  regions.add(region(0x1000, 0x2000, 0, "a"));
  regions.add(region(0x1800, 0x1800, 0, "empty"));
  regions.add(region(0x1900, 0x1800, 0, "turned round"));
  CHECK(path_at(regions, 0x1800) == "a");
  CHECK(path_at(regions, 0x18ff) == "a");
}
