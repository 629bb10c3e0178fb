// SPDX-License-Identifier: Apache-2.0
//
// Samples of growth become call sites: when they are walked, what they stand for, and what of their
// memory is there still.
#include "sources/growth_book.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>

#include "model/normal.h"
#include "model/sampling.h"

using namespace tidemark;
using model::Address;
using model::Generation;
using sources::GrowthBook;
using sources::GrowthIdentity;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kPage = 4096;
constexpr GrowthIdentity kProcess{7, 100, 0xffff8000};
// Code lies from 0x1000 to 0x2000; functions are 0x100 long. Each frame is a return address and
// nothing else, as of functions without locals.
constexpr uint64_t kCode = 0x1000;

sources::GrowthCode code() {
  sources::GrowthCode code;
  code.rule_of = [](Generation, Address address) -> std::optional<tm_rule> {
    if (address.value <= kCode || address.value > 2 * kCode) return std::nullopt;
    tm_rule rule{};
    rule.kind = TM_RULE_SP;
    rule.cfa_offset = 8;
    if (address.value > 0x1f00) rule.kind = TM_RULE_BOTTOM;
    return rule;
  };
  code.function_start = [](Generation, Address address) -> std::optional<Address> {
    return Address{address.value & ~uint64_t{0xff}};
  };
  return code;
}

struct Sample {
  std::unique_ptr<tm_growth_sample> record = std::make_unique<tm_growth_sample>();

  explicit Sample(uint64_t pc, std::initializer_list<uint64_t> callers = {0x1f10}) {
    record->tgid = kProcess.tgid;
    record->started_boot_ns = kProcess.started_boot_ns;
    record->mm = kProcess.mm;
    record->time_ns = kSecond;
    record->grown_bytes = kPage;
    record->interval_bytes = 16 * kPage;
    record->address = 0x700000;
    record->pc = pc;
    record->sp = 0x7000;
    for (const uint64_t caller : callers) {
      std::memcpy(record->bytes + record->size_bytes, &caller, sizeof(caller));
      record->size_bytes += sizeof(caller);
    }
  }
  Sample& at(uint64_t address) {
    record->address = address;
    return *this;
  }
  Sample& time(uint64_t ns) {
    record->time_ns = ns;
    return *this;
  }
};

struct Collected {
  std::vector<model::GrowthSite> sites;
  std::vector<model::Stack> stacks;
};

struct Book {
  GrowthBook book{code(), 1};

  void hear(const Sample& sample) { book.hear(std::as_bytes(std::span(sample.record.get(), 1))); }
  [[nodiscard]] Collected collect() const {
    Collected all;
    book.collect(all.sites, all.stacks);
    return all;
  }
  // Of a process whose code is known from its first sample on.
  Generation known() {
    hear(Sample(0x1010));
    const Generation owner = book.owner_of(kProcess).value();
    book.learn(owner, kSecond);
    return owner;
  }
};

std::vector<Address> frames_of(const Collected& all, const model::GrowthSite& site) {
  for (const model::Stack& stack : all.stacks) {
    if (stack.id == site.stack) return stack.frames;
  }
  return {};
}

}  // namespace

TEST_CASE("growth book: address space is a call site of its own, of which nothing is kept") {
  Book book;
  const Generation owner = book.known();
  const auto hear = [&](uint32_t kind) {
    Sample sample(0x1010);
    sample.record->kind = kind;
    sample.record->grown_bytes = 64 * kPage;
    sample.at(kind < TM_GROWTH_KINDS ? 0x710000 : 0);
    book.hear(sample);
  };
  for (const uint32_t kind : {TM_GROWTH_ANON, TM_GROWTH_BRK, TM_GROWTH_MMAP, TM_GROWTH_BRK})
    hear(kind);
  book.book.settle(owner, std::vector<bool>(book.book.touched(owner).size(), true));
  const Collected all = book.collect();
  REQUIRE(all.sites.size() == 3);
  for (const model::GrowthSite& site : all.sites) {
    CHECK(site.kept_bytes.has_value() == !model::is_address_space(site.kind));
    CHECK(site.samples == (site.kind == model::GrowthKind::kMmap ? 1 : 2));
    const double once = model::weigh_sample(64 * kPage, 16 * kPage).bytes;
    if (site.kind == model::GrowthKind::kBrk)
      CHECK(site.touched_bytes == doctest::Approx(2 * once));
    CHECK(frames_of(all, site) == std::vector<Address>{{0x1011}, {0x1f10}});
  }
}

TEST_CASE("growth book: a sample waits for its process's code, which is asked for after a second") {
  Book book;
  book.hear(Sample(0x1010, {0x1234, 0x1f10}).time(5 * kSecond));
  CHECK(book.collect().sites.empty());
  CHECK(book.book.wanted(5 * kSecond + kSecond / 2).empty());
  CHECK(book.book.wanted_now().size() == 1);
  const auto wanted = book.book.wanted(6 * kSecond);
  REQUIRE(wanted.size() == 1);
  CHECK(wanted[0].identity == kProcess);
  book.book.learn(wanted[0].owner, 6 * kSecond);
  CHECK(book.book.wanted_now().empty());
  const Collected all = book.collect();
  REQUIRE(all.sites.size() == 1);
  CHECK(all.sites[0].samples == 1);
  // The fault was at 0x1010 itself: behind it stands the address of a call.
  CHECK(frames_of(all, all.sites[0]) ==
        std::vector{Address{0x1011}, Address{0x1234}, Address{0x1f10}});
}

TEST_CASE("growth book: a system call's address is behind its instruction") {
  Book book;
  Sample sample(0x1010);
  sample.record->in_syscall = 1;
  book.hear(sample);
  book.book.learn(book.book.owner_of(kProcess).value(), kSecond);
  const Collected all = book.collect();
  REQUIRE(all.sites.size() == 1);
  CHECK(all.sites[0].in_syscall);
  CHECK(frames_of(all, all.sites[0]).front() == Address{0x1010});
}

TEST_CASE("growth book: a call site is told by its innermost function and its callers") {
  Book book;
  book.known();
  book.hear(Sample(0x1090).at(0x701000));                    // the same function
  book.hear(Sample(0x1110).at(0x702000));                    // another one
  book.hear(Sample(0x1010, {0x1220, 0x1f10}).at(0x703000));  // called from elsewhere
  Sample shared(0x1010);
  shared.record->kind = TM_GROWTH_SHMEM;
  book.hear(shared.at(0x704000));
  const Collected all = book.collect();
  REQUIRE(all.sites.size() == 4);
  CHECK(all.sites[0].samples == 2);
  CHECK(all.sites[1].samples == 1);
}

TEST_CASE("growth book: a sample stands for what lies between marks") {
  Book book;
  book.known();
  const auto weight = model::weigh_sample(kPage, 16 * kPage);
  CHECK(book.collect().sites[0].touched_bytes == doctest::Approx(weight.bytes));
  CHECK(book.collect().sites[0].touched_variance == doctest::Approx(weight.variance));
  CHECK(*book.collect().sites[0].kept_bytes == doctest::Approx(weight.bytes));
  CHECK(book.collect().sites[0].kept_variance == doctest::Approx(weight.variance));
  CHECK(book.collect().sites[0].interval_bytes == 16 * kPage);
}

TEST_CASE("growth book: what is in memory is kept, what is touched anew was given back") {
  Book book;
  const Generation owner = book.known();  // page 0x700
  const double bytes = model::weigh_sample(kPage, 16 * kPage).bytes;
  book.hear(Sample(0x1010).at(0x701000));
  book.hear(Sample(0x1010).at(0x702123));
  CHECK(book.book.touched(owner) ==
        std::vector{Address{0x700000}, Address{0x701000}, Address{0x702000}});
  book.book.settle(owner, {true, false, true});
  CHECK(*book.collect().sites[0].kept_bytes == doctest::Approx(2 * bytes));
  book.hear(Sample(0x1110).at(0x702800));  // the same page, by another function
  Collected all = book.collect();
  REQUIRE(all.sites.size() == 2);
  CHECK(*all.sites[0].kept_bytes == doctest::Approx(bytes));
  CHECK(*all.sites[1].kept_bytes == doctest::Approx(bytes));
  CHECK(all.sites[0].touched_bytes + all.sites[1].touched_bytes == doctest::Approx(4 * bytes));
  // A look that does not fit to what is known now says nothing.
  book.book.settle(owner, {false});
  CHECK(*book.collect().sites[0].kept_bytes == doctest::Approx(bytes));
}

TEST_CASE("growth book: without addresses nobody knows what is kept") {
  Book book;
  book.known();
  book.hear(Sample(0x1010).at(0));
  book.hear(Sample(0x1010).at(0));
  CHECK_FALSE(book.collect().sites[0].kept_bytes);
  CHECK(book.collect().sites[0].samples == 3);
}

TEST_CASE("growth book: of a few pages without an address all or nothing may be kept") {
  Book book;
  const Generation owner = book.known();  // page 0x700
  const double bytes = model::weigh_sample(kPage, 16 * kPage).bytes;
  book.hear(Sample(0x1010).at(0x701000));
  book.hear(Sample(0x1010).at(0x702000));
  book.hear(Sample(0x1010).at(0x703000));
  book.book.settle(owner, {true, false, false, false});
  const model::GrowthSite before = book.collect().sites[0];
  book.hear(Sample(0x1010).at(0));
  const model::GrowthSite site = book.collect().sites[0];
  CHECK(*before.kept_bytes == doctest::Approx(bytes));
  CHECK(*site.kept_bytes == doctest::Approx(bytes * 5 / 4));
  CHECK(site.touched_bytes == doctest::Approx(5 * bytes));
  CHECK(model::kStandardErrors95 * std::sqrt(site.kept_variance - before.kept_variance * 25 / 16) ==
        doctest::Approx(bytes * 3 / 4));
}

TEST_CASE("growth book: a process that ends unseen is summed up, one that was seen keeps nothing") {
  Book book;
  book.hear(Sample(0x1010));
  book.book.end(kProcess);
  CHECK(book.book.counts().unwatched.count == 1);
  CHECK(book.book.counts().unwatched.bytes > 0);
  CHECK(book.book.wanted_now().empty());
  CHECK(book.collect().sites.empty());
  CHECK_FALSE(book.book.owner_of(kProcess));

  Book seen;
  seen.known();
  seen.book.end(kProcess);
  seen.book.end(kProcess);
  REQUIRE(seen.collect().sites.size() == 1);
  CHECK(*seen.collect().sites[0].kept_bytes == 0);
  CHECK(seen.collect().sites[0].touched_bytes > 0);
  CHECK(seen.book.running().empty());
  seen.hear(Sample(0x1010));  // it was on its way
  CHECK(seen.collect().sites[0].samples == 1);
  CHECK(seen.book.counts().unwatched.count == 1);
}

TEST_CASE("growth book: an exec is another owner") {
  Book book;
  const Generation first = book.known();
  Sample after(0x1010);
  after.record->mm = kProcess.mm + 64;
  book.hear(after);
  CHECK(book.book.owner_of(GrowthIdentity{7, 100, kProcess.mm + 64}) != first);
  CHECK(book.book.running().size() == 2);
}

TEST_CASE("growth book: samples that wait are bounded, the oldest goes first") {
  Book book;
  for (int i = 0; i < 600; ++i) book.hear(Sample(0x1010).at(0x700000 + i * kPage));
  CHECK(book.book.counts().unwatched.count == 600 - 512);
  book.book.learn(book.book.owner_of(kProcess).value(), kSecond);
  CHECK(book.collect().sites[0].samples == 512);
  CHECK(book.book.touched(book.book.owner_of(kProcess).value()).front().value ==
        0x700000 + 88 * kPage);
}

TEST_CASE("growth book: code that came later is waited for, but not at once again") {
  Book book;
  const Generation owner = book.known();
  book.hear(Sample(0x1010, {0x5000}).time(kSecond + 1));
  CHECK(book.book.wanted_now().empty());
  CHECK(book.collect().sites.size() == 2);
  book.hear(Sample(0x1010, {0x6000}).time(4 * kSecond).at(0x705000));
  CHECK(book.collect().sites.size() == 2);
  CHECK(book.book.wanted(4 * kSecond).size() == 1);
  book.book.learn(owner, 4 * kSecond);
  // Nothing was learned of it: the stack ends where code does, as did the one before.
  const Collected all = book.collect();
  CHECK(all.sites.size() == 2);
  for (const model::GrowthSite& site : all.sites) {
    const auto frames = frames_of(all, site);
    CHECK(frames.front() == Address{0x1011});
    CHECK(frames.back().value <= 2 * kCode);
  }
}

TEST_CASE("growth book: a stack that could not be read is counted, and its growth kept") {
  Book book;
  Sample sample(0);
  sample.record->size_bytes = 0;
  book.hear(sample);
  book.book.learn(book.book.owner_of(kProcess).value(), kSecond);
  CHECK(book.book.counts().stacks_lost.count == 1);
  REQUIRE(book.collect().sites.size() == 1);
  CHECK(book.collect().sites[0].stack == model::kStackLost);
  book.book.hear({});  // cut off: ignored
}

// Ten times more pages than are remembered, by one call site that keeps a third of them; intervals
// that change with what was seen, as in BPF.
TEST_CASE("growth book: kept and touched bytes stay unbiased when samples are thinned out") {
  constexpr int kRuns = 12;
  constexpr uint64_t kPages = 120'000;
  std::mt19937_64 random(4711);
  double touched = 0, kept = 0, kept_variance = 0;
  for (int run = 0; run < kRuns; ++run) {
    GrowthBook book(code(), static_cast<uint64_t>(run));
    Sample first(0x1010);
    uint64_t samples = 0;
    bool is_known = false;
    std::exponential_distribution<> distance;
    double to_mark = distance(random);
    for (uint64_t page = 0; page < kPages; ++page) {
      const uint64_t interval = (samples & 64) != 0 ? 4 * kPage : 2 * kPage;
      to_mark -= static_cast<double>(kPage) / static_cast<double>(interval);
      if (to_mark > 0) continue;
      to_mark = distance(random);
      ++samples;
      Sample sample(0x1010);
      sample.at((page + 1) * kPage).record->interval_bytes = interval;
      book.hear(std::as_bytes(std::span(sample.record.get(), 1)));
      if (!is_known) book.learn(book.owner_of(kProcess).value(), kSecond);
      is_known = true;
    }
    const Generation owner = book.owner_of(kProcess).value();
    std::vector<bool> in_memory;
    for (const Address address : book.touched(owner))
      in_memory.push_back(address.value / kPage % 3 == 0);
    CHECK(in_memory.size() <= 16384);
    book.settle(owner, in_memory);
    std::vector<model::GrowthSite> sites;
    std::vector<model::Stack> stacks;
    book.collect(sites, stacks);
    REQUIRE(sites.size() == 1);
    touched += sites[0].touched_bytes / kRuns;
    kept += *sites[0].kept_bytes / kRuns;
    kept_variance += sites[0].kept_variance / kRuns / kRuns;
  }
  CHECK(touched == doctest::Approx(static_cast<double>(kPages * kPage)).epsilon(0.01));
  CHECK(std::abs(kept - static_cast<double>(kPages * kPage) / 3) < 4 * std::sqrt(kept_variance));
}
