// SPDX-License-Identifier: Apache-2.0
//
// MappingBook: the records of BPF, as bytes, become call sites and counters.
#include "sources/mapping_book.h"

#include <doctest/doctest.h>
#include <linux/mman.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <span>

#include "sources/pages.h"

using namespace tidemark;
using model::Generation;
using model::Purpose;
using sources::MappingBook;
using sources::Served;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint32_t kOwner = 1;

uint64_t page(uint64_t number) {
  return number * sources::page_bytes();
}

// A book whose targets' code is nowhere known.
struct Book {
  std::shared_ptr<sources::UnwindRules> rules = std::make_shared<sources::UnwindRules>();
  MappingBook book{rules};

  static tm_mapping_record record(tm_mapping_op op, uint64_t start = 0, uint64_t length = 0,
                                  uint64_t flags = MAP_ANONYMOUS | MAP_PRIVATE) {
    tm_mapping_record made{};
    made.op = static_cast<uint16_t>(op);
    made.owner = kOwner;
    made.tid = 7;
    made.time_ns = kSecond;
    made.start = start;
    made.length = length;
    made.flags = flags;
    return made;
  }
  void hear(const tm_mapping_record& record) {
    book.hear(std::as_bytes(std::span(&record, 1)));
    book.settle_all();
  }
  // With a stack of these frames, as much of it as BPF sends.
  void hear_unsettled(tm_mapping_record made, std::vector<uint64_t> frames) {
    struct {
      tm_mapping_record record;
      tm_stack stack;
    } sent{};
    made.detail = TM_MAPPING_WITH_STACK;
    sent.record = made;
    sent.stack.depth = static_cast<uint32_t>(frames.size());
    std::ranges::copy(frames, sent.stack.frames);
    book.hear(std::as_bytes(std::span(&sent, 1)).first(sizeof(made) + 8 + 8 * frames.size()));
  }
  void map(uint64_t first, uint64_t count, uint64_t flags = MAP_ANONYMOUS | MAP_PRIVATE) {
    hear(record(TM_MAPPING_MAPPED, page(first), page(count), flags));
  }
  [[nodiscard]] sources::Collected collected() const {
    sources::Collected into;
    book.collect({.started_ns = 0, .taken_ns = 4 * kSecond}, into);
    return into;
  }
  [[nodiscard]] model::CallSite only_site() const {
    const auto all = collected();
    REQUIRE(all.call_sites.size() == 1);
    REQUIRE(all.apart.empty());
    return all.call_sites.front();
  }
};

}  // namespace

TEST_CASE("mapping book: a call site has its sums, its ages and its ranges") {
  Book book;
  book.map(10, 4);
  book.map(20, 4);
  book.hear(Book::record(TM_MAPPING_UNMAP, page(20), page(2)));
  const model::CallSite site = book.only_site();
  CHECK(site.kind == model::Kind::kMapping);
  CHECK(site.owner == Generation{kOwner});
  CHECK(site.allocator == "mmap");
  CHECK(site.purpose == Purpose::kNone);
  CHECK(site.stack == model::kStackLost);
  CHECK(site.total_bytes == page(8));
  CHECK(site.freed_bytes == page(2));
  CHECK(site.live_count() == 2);
  CHECK(site.oldest_birth_ns == kSecond);
  CHECK(site.live_by_quarter[0] + site.live_by_quarter[1] == 2);
  CHECK(site.ranges ==
        std::vector<model::AddressRange>{{page(10), page(14)}, {page(22), page(24)}});
}

TEST_CASE("mapping book: lengths are whole pages, wherever they begin") {
  Book book;
  book.hear(Book::record(TM_MAPPING_MAPPED, page(10), page(1) + 1));
  CHECK(book.only_site().total_bytes == page(2));
  book.hear(Book::record(TM_MAPPING_UNMAP, page(10), 1));
  CHECK(book.only_site().freed_bytes == page(1));
  book.hear(Book::record(TM_MAPPING_UNMAP, page(10), UINT64_MAX));
  CHECK(book.only_site().live_count() == 0);
}

TEST_CASE("mapping book: purposes") {
  Book book;
  SUBCASE("a stack that is asked for") {
    book.map(10, 4, MAP_ANONYMOUS | MAP_STACK);
    CHECK(book.only_site().purpose == Purpose::kStack);
  }
  SUBCASE("a thread's") {
    book.map(10, 4, MAP_ANONYMOUS | MAP_STACK);
    book.hear(Book::record(TM_MAPPING_STACK, page(14) - 1, 0, CLONE_VM | CLONE_THREAD));
    CHECK(book.only_site().purpose == Purpose::kThreadStack);
  }
  SUBCASE("a process's, without MAP_STACK") {
    book.map(10, 4);
    book.hear(Book::record(TM_MAPPING_STACK, page(14) - 1, 0, CLONE_VM));
    CHECK(book.only_site().purpose == Purpose::kCloneStack);
  }
  SUBCASE("a file's") {
    book.map(10, 4, MAP_PRIVATE);
    CHECK(book.only_site().purpose == Purpose::kFile);
  }
}

TEST_CASE("mapping book: what the heap maps for itself is no call site") {
  Book book;
  auto backing = Book::record(TM_MAPPING_MAPPED, page(10), page(32));
  backing.backing = 1;
  book.hear(backing);
  book.hear(Book::record(TM_MAPPING_UNMAP, page(10), page(16)));
  const auto all = book.collected();
  CHECK(all.call_sites.empty());
  REQUIRE(all.apart.size() == 1);
  CHECK(all.apart[0].purpose == Purpose::kHeapBacking);
  CHECK(all.apart[0].live_bytes() == page(16));
  // Moved by the program itself: it is the heap's still.
  auto begin = Book::record(TM_MAPPING_REMAP);
  begin.old_start = page(26);
  begin.old_length = page(16);
  book.hear(begin);
  book.hear(Book::record(TM_MAPPING_REMAPPED, page(90), page(20), MREMAP_MAYMOVE));
  CHECK(book.collected().call_sites.empty());
}

TEST_CASE("mapping book: mremap that leaves the old place mapped is one more") {
  Book book;
  book.map(10, 4);
  auto begin = Book::record(TM_MAPPING_REMAP);
  begin.old_start = page(10);
  begin.old_length = page(4);
  book.hear(begin);
  book.hear(
      Book::record(TM_MAPPING_REMAPPED, page(50), page(4), MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
  const auto all = book.collected();
  REQUIRE(all.call_sites.size() == 2);
  CHECK(all.call_sites[0].live_bytes() == page(4));
  CHECK(all.call_sites[1].live_bytes() == page(4));
  CHECK(all.call_sites[1].allocator == "mremap");
}

TEST_CASE("mapping book: brk, shmat and their ends") {
  Book book;
  auto begin = Book::record(TM_MAPPING_BREAK, page(14));
  begin.old_start = page(10);
  SUBCASE("the break") {
    book.hear(begin);
    book.hear(Book::record(TM_MAPPING_BROKE, page(14)));
    CHECK(book.only_site().allocator == "brk");
    CHECK(book.only_site().live_bytes() == page(4));
  }
  SUBCASE("a segment") {
    book.hear(Book::record(TM_MAPPING_ATTACHED, page(10), page(3)));
    CHECK(book.only_site().allocator == "shmat");
    book.hear(Book::record(TM_MAPPING_DETACH, page(10)));
    CHECK(book.only_site().live_count() == 0);
    book.hear(Book::record(TM_MAPPING_UNDO));
    CHECK(book.only_site().live_count() == 1);
  }
  SUBCASE("a segment of unknown size") {
    book.hear(Book::record(TM_MAPPING_ATTACHED, page(10), 0));
    CHECK(book.collected().call_sites.empty());
    CHECK(book.book.counts().unknown_sizes.count == 1);
  }
  CHECK(book.book.counts().unmatched_unmaps.count == 0);
}

TEST_CASE("mapping book: what is not known is noted, what was missed is lost") {
  Book book;
  book.hear(Book::record(TM_MAPPING_UNMAP, page(10), page(4)));
  book.hear(Book::record(TM_MAPPING_DETACH, page(10)));
  CHECK(book.book.counts().unmatched_unmaps.count == 2);
  book.map(10, 4);
  book.map(11, 1, MAP_ANONYMOUS | MAP_FIXED);
  CHECK(book.book.counts().missed_unmaps.count == 0);
  book.map(12, 4);
  CHECK(book.book.counts().missed_unmaps.count == 1);
  CHECK(book.book.counts().missed_unmaps.bytes == page(2));
  CHECK(book.only_site().live_bytes() == page(6));
}

TEST_CASE("mapping book: after a loss the maps say what is there") {
  Book book;
  book.map(10, 4);
  model::ProcessImage image;
  model::Mapping there;
  there.start = {page(12)};
  there.end = {page(40)};
  image.mappings = {there};
  book.book.verify(Generation{kOwner}, image, {kSecond + 1});  // too young to be judged
  CHECK(book.only_site().live_bytes() == page(4));
  book.book.verify(Generation{kOwner}, image, {10 * kSecond});
  CHECK(book.only_site().live_bytes() == page(2));
  CHECK(book.book.counts().missed_unmaps.bytes == page(2));
  book.book.verify(Generation{9}, image, {10 * kSecond});
}

TEST_CASE("mapping book: an image that was heard of by its code alone takes nothing off") {
  Book book;
  book.map(10, 4);
  model::ProcessImage image;
  model::Mapping code;
  code.start = {page(100)};
  code.end = {page(140)};
  code.executable = true;
  image.mappings = {code};
  book.book.verify(Generation{kOwner}, image, {10 * kSecond});
  CHECK(book.only_site().live_bytes() == page(4));
  CHECK(book.book.counts().missed_unmaps.count == 0);
}

TEST_CASE("mapping book: exec drops what is live, and says so") {
  Book book;
  book.map(10, 4);
  book.map(20, 4);
  book.hear(Book::record(TM_MAPPING_UNMAP, page(20), page(4)));
  book.book.forget(Generation{kOwner});
  book.book.forget(Generation{9});
  CHECK(book.only_site().live_count() == 0);
  CHECK(book.book.counts().dropped_at_exec.count == 1);
  CHECK(book.book.counts().dropped_at_exec.bytes == page(4));
}

TEST_CASE(
    "mapping book: a stack through unknown code waits for the maps, in order and not for ever") {
  Book book;
  book.book.learn_allocators(Generation{kOwner}, {});
  book.hear_unsettled(Book::record(TM_MAPPING_MAPPED, page(10), page(4)), {0x1000, 0x2000});
  book.book.hear(std::as_bytes(std::span<const tm_mapping_record>(
      std::array{Book::record(TM_MAPPING_UNMAP, page(10), page(1))})));
  // However late it is heard.
  CHECK(book.book.settle({5 * kSecond}) == Served::kMapsWanted);
  CHECK(book.collected().call_sites.empty());
  SUBCASE("the maps come") {
    model::ProcessImage image;
    model::Mapping code;
    code.start = {0xf00};
    code.end = {0x3000};
    code.executable = true;
    image.mappings = {code};
    (void)book.rules->learn(Generation{kOwner}, image);
    CHECK(book.book.settle({5 * kSecond}) == Served::kAll);
  }
  SUBCASE("they don't") {
    CHECK(book.book.settle({6 * kSecond}) == Served::kAll);
  }
  SUBCASE("it is the end") {
    book.book.settle_all();
  }
  CHECK(book.only_site().live_bytes() == page(3));
  const auto all = book.collected();
  REQUIRE(all.stacks.size() == 1);
  CHECK(all.stacks[0].id == all.call_sites[0].stack);
  CHECK(all.stacks[0].frames == std::vector<model::Address>{{0x1000}, {0x2000}});
}

// It may be the allocator's own, which is about to be probed.
TEST_CASE("mapping book: what is mapped before the allocators are known waits for them") {
  Book book;
  book.hear_unsettled(Book::record(TM_MAPPING_MAPPED, page(10), page(4)), {});
  CHECK(book.book.without_allocators() == std::vector{Generation{kOwner}});
  CHECK(book.book.settle({2 * kSecond}) == Served::kAll);
  CHECK(book.collected().call_sites.empty());
  SUBCASE("they are probed") {
    book.book.learn_allocators(Generation{kOwner}, {});
    CHECK(book.book.settle({2 * kSecond}) == Served::kAll);
  }
  SUBCASE("there are none") {
    CHECK(book.book.settle({10 * kSecond}) == Served::kAll);
  }
  CHECK(book.only_site().live_bytes() == page(4));
}

TEST_CASE("mapping book: a record that is too short is none") {
  Book book;
  const std::array<std::byte, 20> few{};
  book.book.hear(few);
  auto headless = Book::record(TM_MAPPING_MAPPED, page(10), page(1));
  headless.detail = TM_MAPPING_WITH_SAMPLE;
  book.book.hear(std::as_bytes(std::span(&headless, 1)));
  book.book.settle_all();
  CHECK(book.collected().call_sites.empty());
}

TEST_CASE("mapping stacks: who is a dynamic linker") {
  using sources::Requester;
  using sources::requester_of;
  CHECK(requester_of("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2") == Requester::kLoader);
  CHECK(requester_of("/lib/ld-2.31.so") == Requester::kLoader);
  CHECK(requester_of("/lib/ld-musl-x86_64.so.1") == Requester::kMuslOrLoader);
  CHECK(requester_of("/usr/lib/x86_64-linux-musl/libc.so") == Requester::kMuslOrLoader);
  CHECK(requester_of("/usr/lib/musl/lib/libc.so") == Requester::kMuslOrLoader);
  CHECK(requester_of("/usr/lib/x86_64-linux-gnu/libc.so.6") == Requester::kProgram);
  CHECK(requester_of("/srv/held/libld-x.so") == Requester::kProgram);
  CHECK(requester_of("") == Requester::kProgram);
}
