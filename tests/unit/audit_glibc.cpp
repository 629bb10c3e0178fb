// SPDX-License-Identifier: Apache-2.0
//
// glibc's structures out of bytes that are made up, and this process's own heap.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "audit/books.h"
#include "audit/glibc_arenas.h"
#include "audit/glibc_walk.h"
#include "audit/process_memory.h"
#include "audit_fakes.h"
#include "system/pagemap.h"
#include "system/process.h"

using namespace tidemark;
using namespace tidemark::audit::glibc;
using test::FakeMemory;

namespace {

constexpr uint64_t kArena = 0x7f0000001000;
constexpr uint64_t kHeap = 0x550000000000;
constexpr uint64_t kHeapBytes = 0x21000;

// An arena with empty bins, as malloc_init_state() leaves it.
void put_arena(FakeMemory& memory, uint64_t at, uint64_t top) {
  for (std::size_t bin = 0; bin < kBins; ++bin) {
    const uint64_t itself = at + kBinsOffset + bin * 16 - kChunkHeader;
    memory.put(at + kBinsOffset + bin * 16, itself);
    memory.put(at + kBinsOffset + bin * 16 + 8, itself);
  }
  memory.put(at + kTopOffset, top);
  memory.put(at + kNextOffset, at);
  memory.put(at + kSystemMemOffset, kHeapBytes);
  memory.put(at + kMaxSystemMemOffset, kHeapBytes);
}

std::optional<Arena> parse(FakeMemory& memory, uint64_t at) {
  std::vector<std::byte> bytes(kArenaBytes);
  audit::Read read{at, bytes};
  REQUIRE(memory.read(std::span(&read, 1)));
  return parse_arena(bytes, at);
}

struct Fixture {
  Fixture() {
    memory.map(kArena - 256, 8192);
    memory.map(kHeap, kHeapBytes);
    put_arena(memory, kArena, kHeap + 0x1000);
  }
  FakeMemory memory;
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "an arena is told by its bins, its size and its chain") {
  const auto arena = parse(memory, kArena);
  REQUIRE(arena);
  CHECK(arena->top == kHeap + 0x1000);
  CHECK(arena->free_chunks.empty());
  CHECK(arena->contiguous);
  CHECK(read_arenas(memory, kArena));
  SUBCASE("its bins are alike: not 16 bytes before or behind it") {
    CHECK_FALSE(parse(memory, kArena - 16));
    CHECK_FALSE(parse(memory, kArena + 16));
  }
  SUBCASE("a bin half linked was read while it changed") {
    memory.put(kArena + kBinsOffset, kHeap + 0x100);
    CHECK_FALSE(parse(memory, kArena));
  }
  SUBCASE("a bin with chunks") {
    memory.put(kArena + kBinsOffset, kHeap + 0x100);
    memory.put(kArena + kBinsOffset + 8, kHeap + 0x200);
    REQUIRE(parse(memory, kArena));
    CHECK(parse(memory, kArena)->free_chunks == std::vector<uint64_t>{kHeap + 0x100});
  }
  SUBCASE("more memory than there ever was") {
    memory.put(kArena + kSystemMemOffset, kHeapBytes + 4096);
    CHECK_FALSE(parse(memory, kArena));
  }
  SUBCASE("a chain that does not close") {
    memory.put(kArena + kNextOffset, kArena + 8);
    CHECK_FALSE(read_arenas(memory, kArena));
  }
}

TEST_CASE_FIXTURE(Fixture, "a walk passes over what lies inside of another chunk") {
  // 32, 64, 48 up to the top, which lies at 0x1000.
  uint64_t at = kHeap;
  for (const uint64_t size : std::initializer_list<uint64_t>{32, 64, 48, 0x1000 - 32 - 64 - 48}) {
    memory.put(at + 8, size | kPrevInUse);
    at += size;
  }
  memory.put(at + 8, (kHeapBytes - 0x1000) | kPrevInUse);
  const Heap heap{.first = kHeap, .top = kHeap + 0x1000, .end = kHeap + kHeapBytes};
  const std::set<uint64_t> chunks = {kHeap, kHeap + 32, kHeap + 64, kHeap + 96, kHeap + 0x800};
  auto passed = find_passed_over(memory, heap, chunks);
  REQUIRE(passed);
  CHECK(*passed == std::set<uint64_t>{kHeap + 64, kHeap + 0x800});
  SUBCASE("and says nothing where it is led astray") {
    memory.put(kHeap + 32 + 8, uint64_t{72});
    passed = find_passed_over(memory, heap, chunks);
    REQUIRE(passed);
    CHECK(passed->empty());
  }
  SUBCASE("nor where it does not meet the top") {
    memory.put(kHeap + 32 + 8, uint64_t{64 + 32} | kPrevInUse);
    passed = find_passed_over(memory, Heap{kHeap, kHeap + 0x1010, kHeap + kHeapBytes + 64}, chunks);
    REQUIRE(passed);
    CHECK(passed->empty());
  }
}

// Nothing is stopped, so what is looked at is this very process.
TEST_CASE("this process's own heap") {
  const auto image = system::read_process(model::Pid{::getpid()});
  REQUIRE(image);
  auto memory = audit::ProcessMemory::open(model::Pid{::getpid()});
  REQUIRE(memory);
  std::string module;
  for (const model::Mapping& mapping : image->mappings) {
    if (mapping.path.ends_with("/libc.so.6") && mapping.executable) module = mapping.path;
  }
  REQUIRE(!module.empty());
  const audit::Target target{**memory, *image, module};
  std::vector<audit::Block> blocks;
  std::vector<void*> pointers;
  for (std::size_t i = 0; i < 64; ++i) {
    pointers.push_back(std::malloc(2000 + i * 16));
    blocks.push_back({.address = model::Address{reinterpret_cast<uint64_t>(pointers.back())},
                      .size_bytes = 2000 + i * 16,
                      .header = std::nullopt});
  }
  const auto version = read_version(target);
  REQUIRE(version);
  if (*version != "2.36") {
    // Of another glibc than the one that is known nothing is said.
    CHECK_FALSE(audit::books_of("glibc").open(target));
  } else {
    const auto books = audit::books_of("glibc").open(target);
    REQUIRE(books);
    CHECK((*books)->self_test(target, blocks));
    for (std::size_t i = 0; i < 64; i += 2) std::free(std::exchange(pointers[i], nullptr));
    const auto seen = (*books)->look(target, blocks);
    REQUIRE(seen);
    for (std::size_t i = 0; i < 64; ++i) {
      INFO(i);
      const auto state = (*seen)[i].state;
      // A few are reused by the test's own doing.
      if (i % 2 == 1) CHECK(state == audit::State::kLooksLive);
    }
    const auto dead = std::ranges::count(*seen, audit::State::kDead, &audit::Observation::state);
    CHECK(dead >= 24);
    CHECK(dead <= 32);
  }
  for (void* pointer : pointers) std::free(pointer);
}

TEST_CASE("what is not mapped is passed over, and what is behind it is read") {
  auto memory = audit::ProcessMemory::open(model::Pid{::getpid()});
  REQUIRE(memory);
  const uint64_t here = 42;
  const auto values = audit::read_values<uint64_t>(
      **memory, std::vector<uint64_t>{reinterpret_cast<uint64_t>(&here), 8,
                                      reinterpret_cast<uint64_t>(&here)});
  REQUIRE(values);
  CHECK((*values)[0] == 42u);
  CHECK_FALSE((*values)[1]);
  CHECK((*values)[2] == 42u);
}

TEST_CASE("anonymous memory that was never touched reads as zeros and gets no pages") {
  auto memory = audit::ProcessMemory::open(model::Pid{::getpid()});
  REQUIRE(memory);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const mapped =
      ::mmap(nullptr, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(mapped != MAP_FAILED);
  REQUIRE(::madvise(mapped, 4 * page, MADV_NOHUGEPAGE) == 0);
  auto* const bytes = static_cast<unsigned char*>(mapped);
  bytes[2 * page] = 7;
  const auto start = reinterpret_cast<uint64_t>(mapped);
  std::vector<std::vector<std::byte>> contents(4, std::vector<std::byte>(page, std::byte{1}));
  std::vector<audit::Read> reads;
  for (std::size_t i = 0; i < 4; ++i) {
    reads.push_back({.address = start + i * page, .into = contents[i], .anonymous = i != 3});
  }
  REQUIRE((*memory)->read(reads));
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(reads[i].done);
    CHECK(contents[i][0] == std::byte{i == 2 ? uint8_t{7} : uint8_t{0}});
    CHECK(contents[i][page - 1] == std::byte{0});
  }
  std::vector<model::Address> pages;
  for (std::size_t i = 0; i < 4; ++i) pages.push_back({start + i * page});
  // The last one was read like memory of a file.
  CHECK(system::read_kept(model::Pid{::getpid()}, pages) == std::vector{false, false, true, true});
  // A read that begins in such a page and goes on in a touched one.
  std::vector<std::byte> both(2 * page);
  audit::Read across{
      .address = start + page + 8, .into = std::span(both).first(page), .anonymous = true};
  REQUIRE((*memory)->read(std::span(&across, 1)));
  CHECK(across.done);
  CHECK(both[page - 8] == std::byte{7});
  ::munmap(mapped, 4 * page);
}
