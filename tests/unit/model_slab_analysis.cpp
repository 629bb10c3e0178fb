// SPDX-License-Identifier: Apache-2.0
#include "model/slab_analysis.h"

#include <doctest/doctest.h>

using namespace tidemark::model;

namespace {

SlabCache cache(const char* name, uint64_t active, uint64_t bytes) {
  SlabCache made;
  made.name = name;
  made.active_objects = active;
  made.objects = active;
  made.bytes = bytes;
  return made;
}

}  // namespace

TEST_CASE("cache groups: the three caches of the field case are one") {
  const std::vector<SlabCache> caches = {
      cache("Acpi-ParseExt", 1058636, 77434880), cache("dentry", 900000, 190ull << 20),
      cache("kmalloc-2048", 1058194, 2167373824), cache("kmalloc-256", 1058462, 270987264),
      cache("inode_cache", 1070000, 600ull << 20)};
  const auto groups = find_cache_groups(caches, {});
  REQUIRE(groups.size() == 1);
  REQUIRE(groups[0].caches.size() == 3);
  CHECK(groups[0].caches[0]->name == "kmalloc-2048");
  CHECK(groups[0].caches[1]->name == "kmalloc-256");
  CHECK(groups[0].caches[2]->name == "Acpi-ParseExt");
  CHECK(groups[0].fewest_objects == 1058194);
  CHECK(groups[0].most_objects == 1058636);
  CHECK(groups[0].bytes == 77434880ull + 2167373824 + 270987264);
}

TEST_CASE("cache groups: few objects, little memory and a count apart are chance") {
  CHECK(find_cache_groups({cache("a", 9999, 64 << 20), cache("b", 9999, 64 << 20)}, {}).empty());
  CHECK(find_cache_groups({cache("a", 20000, 4 << 20), cache("b", 20000, 4 << 20)}, {}).empty());
  CHECK(
      find_cache_groups({cache("a", 100000, 64 << 20), cache("b", 100101, 64 << 20)}, {}).empty());
  CHECK(
      find_cache_groups({cache("a", 100000, 64 << 20), cache("b", 100100, 64 << 20)}, {}).size() ==
      1);
  CHECK(find_cache_groups({}, {}).empty());
}

TEST_CASE("cache groups: near neighbours do not chain up") {
  // Each is near the next, and the ends are not near each other.
  const auto groups =
      find_cache_groups({cache("a", 100000, 64 << 20), cache("b", 100090, 64 << 20),
                         cache("c", 100180, 64 << 20), cache("d", 100270, 64 << 20)},
                        {});
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].caches.size() == 2);
  CHECK(groups[1].caches.size() == 2);
}

TEST_CASE("kmalloc: copies of one size class") {
  CHECK(kmalloc_class("kmalloc-256") == "kmalloc-256");
  CHECK(kmalloc_class("kmalloc-rnd-05-256") == "kmalloc-256");
  CHECK(kmalloc_class("kmalloc-cg-8k") == "kmalloc-8k");
  CHECK(kmalloc_class("kmalloc-part-03-512") == "kmalloc-512");
  CHECK(kmalloc_class("dma-kmalloc-96") == "kmalloc-96");
  for (const char* other : {"dentry", "kmalloc-", "kmalloc-k", "kmalloc-12x", "my-kmalloc-8", ""}) {
    CAPTURE(other);
    CHECK_FALSE(kmalloc_class(other).has_value());
  }
  const auto classes =
      sum_kmalloc_classes({cache("kmalloc-64", 1, 10), cache("kmalloc-cg-64", 2, 30),
                           cache("kmalloc-8k", 3, 20), cache("dentry", 4, 99)});
  REQUIRE(classes.size() == 2);
  CHECK(classes[0].name == "kmalloc-64");
  CHECK(classes[0].bytes == 40);
  CHECK(classes[0].active_objects == 3);
  CHECK(classes[0].copies == std::vector<std::string>{"kmalloc-cg-64", "kmalloc-64"});
}
