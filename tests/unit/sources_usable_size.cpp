// SPDX-License-Identifier: Apache-2.0
//
// Size classes: glibc's against the very allocator that this test runs on, the others against
// figures that malloc_usable_size() gave in Debian 12 (jemalloc 5.3.0, gperftools 2.10, mimalloc
// 2.0.9).
#include "sources/usable_size.h"

#include <doctest/doctest.h>
#include <malloc.h>

#include <cstdlib>
#include <memory>

using namespace tidemark;

TEST_CASE("usable: glibc says the same, but for rests of 16 bytes") {
  // Once a large chunk was freed glibc takes larger ones from the heap, too; one of these in 256
  // lies where a mapping of its own would, and is taken for one. Not here: where it lies is chance.
  REQUIRE(::mallopt(M_MMAP_THRESHOLD, 128 << 10) == 1);
  for (std::size_t size = 0; size < 5'000'000; size += size < 3000 ? 1 : 4093) {
    const std::unique_ptr<void, decltype(&std::free)> block(std::malloc(size), std::free);
    const auto ours = sources::glibc_usable(size, reinterpret_cast<uintptr_t>(block.get()));
    REQUIRE(ours.has_value());
    const std::size_t real = ::malloc_usable_size(block.get());
    CHECK_MESSAGE((real == *ours || real == *ours + 16), size);
  }
}

TEST_CASE("usable: a chunk of its own is told by its address") {
  CHECK(sources::glibc_usable(200'000, 0x7f0000000010) == 49 * 4096 - 16);
  CHECK(sources::glibc_usable(200'000, 0x7f0000000020) == 200'008 - 0);
  CHECK(sources::glibc_usable(100, 0x7f0000000010) == 104);
}

TEST_CASE("usable: jemalloc") {
  for (const auto& [size, usable] : {std::pair<uint64_t, uint64_t>{0, 8},
                                     {8, 8},
                                     {9, 16},
                                     {100, 112},
                                     {129, 160},
                                     {256, 256},
                                     {257, 320},
                                     {3000, 3072},
                                     {4097, 5120},
                                     {14337, 16384},
                                     {100'000, 114688},
                                     {1'000'000, 1048576},
                                     {1'048'577, 1310720}}) {
    CHECK_MESSAGE(sources::jemalloc_usable(size, 0) == usable, size);
  }
}

TEST_CASE("usable: tcmalloc") {
  for (const auto& [size, usable] : {std::pair<uint64_t, uint64_t>{0, 8},
                                     {8, 8},
                                     {9, 16},
                                     {16, 16},
                                     {17, 32},
                                     {769, 896},
                                     {832, 896},
                                     {833, 896},
                                     {262'144, 262'144},
                                     {262'145, 270'336}}) {
    CHECK_MESSAGE(sources::tcmalloc_usable(size, 0) == usable, size);
  }
}

TEST_CASE("usable: mimalloc, up to where it is not known") {
  for (const auto& [size, usable] : {std::pair<uint64_t, uint64_t>{1, 8},
                                     {9, 16},
                                     {65, 80},
                                     {129, 160},
                                     {114'689, 131'072},
                                     {131'072, 131'072}}) {
    CHECK_MESSAGE(sources::mimalloc_usable(size, 0) == usable, size);
  }
  CHECK_FALSE(sources::mimalloc_usable(131'073, 0).has_value());
}

TEST_CASE("usable: absurd sizes are not known") {
  for (const auto usable : {sources::glibc_usable, sources::jemalloc_usable,
                            sources::tcmalloc_usable, sources::mimalloc_usable}) {
    CHECK_FALSE(usable(UINT64_MAX, 0).has_value());
  }
}
