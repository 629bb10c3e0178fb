// SPDX-License-Identifier: Apache-2.0
#include "system/pagemap.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>

using namespace tidemark;

TEST_CASE("pagemap: present pages count, those of files and shared ones are not anonymous") {
  constexpr uint64_t kPresent = uint64_t{1} << 63;
  constexpr uint64_t kSwapped = uint64_t{1} << 62;
  constexpr uint64_t kFile = uint64_t{1} << 61;
  model::Resident sum{.bytes = 1, .anonymous_bytes = 1};
  system::add_pages(sum, std::array<uint64_t, 5>{kPresent, kPresent | kFile, kSwapped, 0, kFile},
                    10);
  CHECK(sum == model::Resident{.bytes = 21, .anonymous_bytes = 11});
}

TEST_CASE("pagemap: of this process") {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* mapped =
      ::mmap(nullptr, 10 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(mapped != MAP_FAILED);
  (void)::madvise(mapped, 10 * page, MADV_NOHUGEPAGE);
  std::memset(mapped, 1, 3 * page);
  const auto start = reinterpret_cast<uintptr_t>(mapped);
  const std::array ranges = {model::AddressRange{start, start + page},
                             model::AddressRange{start + 2 * page, start + 10 * page}};
  const model::Pid self{::getpid()};
  CHECK(system::read_resident(self, ranges) ==
        model::Resident{.bytes = 2 * page, .anonymous_bytes = 2 * page});
  CHECK(system::read_resident(self, {}) == model::Resident{});
  CHECK_FALSE(system::read_resident(model::Pid{0}, ranges).has_value());
  ::munmap(mapped, 10 * page);
}

TEST_CASE("pagemap: which pages are kept") {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* mapped =
      ::mmap(nullptr, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(mapped != MAP_FAILED);
  (void)::madvise(mapped, 3 * page, MADV_NOHUGEPAGE);
  const auto start = reinterpret_cast<uintptr_t>(mapped);
  std::memset(mapped, 1, 2 * page);
  const model::Pid self{::getpid()};
  const std::array addresses = {model::Address{start + 5}, model::Address{start + page},
                                model::Address{start + 2 * page}};
  CHECK(system::read_kept(self, addresses) == std::vector{true, true, false});
  (void)::madvise(mapped, page, MADV_DONTNEED);
  CHECK(system::read_kept(self, addresses) == std::vector{false, true, false});
  CHECK(system::read_kept(self, {}) == std::vector<bool>{});
  CHECK_FALSE(system::read_kept(model::Pid{0}, addresses).has_value());
  ::munmap(mapped, 3 * page);
}
