// SPDX-License-Identifier: Apache-2.0
//
// ABI records into model values, said with literals.
#include "sources/heap_records.h"

#include <doctest/doctest.h>

#include <cmath>
#include <csignal>
#include <set>

#include "sources/counters.h"

using namespace tidemark;
using model::Generation;
using sources::SiteTable;

namespace {

constexpr tm_site_key kKey{.stack_id = 5, .owner = 1, .kind = TM_KIND_HEAP, .allocator = 0};

constexpr tm_block_key kAnywhere{.address = 0x1000, .owner = 1, .space = TM_SPACE_HEAP};

tm_site sums(uint64_t total_bytes, uint64_t total_count, uint64_t freed_bytes,
             uint64_t freed_count) {
  tm_site site{};
  site.total_bytes = total_bytes;
  site.total_count = total_count;
  site.freed_bytes = freed_bytes;
  site.freed_count = freed_count;
  return site;
}

tm_generation running() {
  tm_generation record{};
  record.tgid = 42;
  record.life = TM_LIFE_RUNNING;
  return record;
}

tm_block block_born(uint64_t birth_ns, const tm_site_key& key = kKey) {
  return {.size_bytes = 10, .birth_ns = birth_ns, .site = key, .interval_bytes = 0, .unused = 0};
}

// The quarters of a trace from 1000 to 1400, of blocks born at these times.
std::vector<uint64_t> quarters(std::initializer_list<uint64_t> births,
                               sources::Window window = {1000, 1400}) {
  SiteTable table(window);
  table.add_site(kKey, sums(1, 1, 0, 0));
  for (const uint64_t birth : births) table.add_block(kAnywhere, block_born(birth));
  const auto sites = table.take();
  REQUIRE(sites.size() == 1);
  return {std::begin(sites[0].live_by_quarter), std::end(sites[0].live_by_quarter)};
}

sources::GenerationState exited(uint32_t status) {
  tm_generation record = running();
  record.life = TM_LIFE_EXITED;
  record.exit_code = status;
  return sources::to_generation(Generation{3}, record);
}

}  // namespace

TEST_CASE(
    "records: where blocks were sampled, counts are whole at last and blocks bring variance") {
  constexpr uint64_t kOne = 1 << TM_COUNT_PLACES;
  SiteTable table({1000, 1400}, SiteTable::Counts::kWeighted);
  table.add_site(kKey, sums(5000, 10 * kOne + kOne / 2, 2000, 4 * kOne + kOne / 4));
  tm_block block = block_born(1100);
  block.size_bytes = 512;
  block.interval_bytes = 4096;
  table.add_block(kAnywhere, block);
  const auto sites = table.take();
  REQUIRE(sites.size() == 1);
  CHECK(sites[0].live_bytes() == 3000);
  CHECK(sites[0].live_count() == 6);  // 6.25
  CHECK(sites[0].total_count == 11);  // 10.5
  const double weight = 512 / (1 - std::exp(-0.125));
  CHECK(sites[0].live_variance == doctest::Approx(weight * weight * std::exp(-0.125)));
  CHECK(sites[0].live_by_quarter[0] == 1);
}

TEST_CASE("records: of each call site some live blocks are kept, as many as there is room for") {
  SiteTable table({1000, 1400});
  table.add_site(kKey, sums(10'000, 1000, 0, 0));
  tm_site_key aligned = kKey;
  aligned.allocator |= TM_ALLOCATOR_ALIGNED;
  table.add_site(aligned, sums(10, 1, 0, 0));
  for (uint64_t at = 1; at <= 1000; ++at)
    table.add_block({.address = at * 16, .owner = 1, .space = TM_SPACE_HEAP}, block_born(1100));
  table.add_block(kAnywhere, block_born(1200, aligned));
  const auto sites = table.take();
  REQUIRE(sites.size() == 2);
  CHECK(sites[0].sample.blocks.size() == SiteTable::kMostSampled);
  std::set<uint64_t> addresses;
  for (const model::LiveBlock& block : sites[0].sample.blocks) {
    addresses.insert(block.address.value);
    CHECK(block.owner == Generation{1});
    CHECK(block.size_bytes == 10);
    CHECK(block.birth_ns == 1100);
    CHECK_FALSE(block.aligned);
  }
  CHECK(addresses.size() == SiteTable::kMostSampled);
  REQUIRE(sites[1].sample.blocks.size() == 1);
  CHECK(sites[1].sample.blocks[0].aligned);
}

TEST_CASE("sites: sums and names are taken over") {
  SiteTable table({1000, 2000});
  table.add_site(kKey, sums(300, 3, 100, 1));
  const auto sites = table.take();
  REQUIRE(sites.size() == 1);
  CHECK(sites[0].kind == model::Kind::kHeap);
  CHECK(sites[0].owner == Generation{1});
  CHECK(sites[0].allocator == "glibc");
  CHECK(sites[0].stack == model::StackId{5});
  CHECK(sites[0].live_bytes() == 200);
  CHECK(sites[0].live_count() == 2);
  CHECK_FALSE(sites[0].oldest_birth_ns.has_value());
  CHECK_FALSE(sites[0].youngest_birth_ns.has_value());
}

TEST_CASE("sites: one that never had a block is left out, one that has none left is not") {
  SiteTable table({1000, 2000});
  table.add_site(kKey, sums(0, 0, 0, 0));
  CHECK(table.take().empty());
  table.add_site(kKey, sums(0, 1, 0, 1));
  CHECK(table.take().size() == 1);
}

TEST_CASE("sites: an allocator that is not in the table has no name") {
  SiteTable table({1000, 2000});
  tm_site_key key = kKey;
  key.allocator = 999;
  table.add_site(key, sums(1, 1, 0, 0));
  CHECK(table.take().at(0).allocator.empty());
}

TEST_CASE("sites: keys that differ in one field are different ones") {
  SiteTable table({1000, 2000});
  const tm_site totals = sums(1, 1, 0, 0);
  tm_site_key keys[] = {kKey, kKey, kKey, kKey};
  keys[1].stack_id = 6;
  keys[2].owner = 2;
  keys[3].allocator = 1;
  for (const tm_site_key& key : keys) table.add_site(key, totals);
  table.add_block(kAnywhere, block_born(1100, keys[2]));
  const auto sites = table.take();
  REQUIRE(sites.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(sites[i].oldest_birth_ns.has_value() == (i == 2));
}

TEST_CASE("ages: oldest and youngest of the live blocks, in whatever order they come") {
  SiteTable table({1000, 2000});
  table.add_site(kKey, sums(30, 3, 0, 0));
  for (const uint64_t birth : {1500, 1200, 1900}) table.add_block(kAnywhere, block_born(birth));
  const auto sites = table.take();
  CHECK(sites[0].oldest_birth_ns == 1200u);
  CHECK(sites[0].youngest_birth_ns == 1900u);
}

TEST_CASE("ages: a block of a site that is not there is passed over") {
  SiteTable table({1000, 2000});
  table.add_block(kAnywhere, block_born(1500));
  CHECK(table.take().empty());
}

TEST_CASE("ages: quarters of the trace, oldest first") {
  using Quarters = std::vector<uint64_t>;
  CHECK(quarters({1001, 1050, 1150, 1250, 1251, 1252, 1350}) == Quarters{2, 1, 3, 1});
  CHECK(quarters({1000}) == Quarters{1, 0, 0, 0});
  CHECK(quarters({1400}) == Quarters{0, 0, 0, 1});
  // Born before the start: a realloc keeps the birth. After the end: while we read.
  CHECK(quarters({0, 999}) == Quarters{2, 0, 0, 0});
  CHECK(quarters({1401, ~0ull}) == Quarters{0, 0, 0, 2});
}

TEST_CASE("ages: a window of nothing, or turned round, divides by nothing") {
  using Quarters = std::vector<uint64_t>;
  CHECK(quarters({1000}, {1000, 1000}) == Quarters{1, 0, 0, 0});
  CHECK(quarters({1000}, {1000, 900}) == Quarters{1, 0, 0, 0});
  CHECK(quarters({~0ull}, {0, ~0ull}) == Quarters{0, 0, 0, 1});
}

TEST_CASE("exit: codes as a shell says them") {
  CHECK(exited(0).exit_code == 0);
  CHECK(exited(3 << 8).exit_code == 3);
  CHECK(exited(255 << 8).exit_code == 255);
  CHECK(exited(SIGKILL).exit_code == 137);
  CHECK(exited(SIGSEGV | 0x80).exit_code == 139);  // with a core dump
  CHECK(exited(SIGTERM).life == sources::GenerationState::Life::kExited);
  CHECK(exited(0).pid == model::Pid{42});
  CHECK(exited(0).generation == Generation{3});
}

TEST_CASE("exit: without one there is no code") {
  using Life = sources::GenerationState::Life;
  tm_generation record = running();
  record.exit_code = 7;
  CHECK(sources::to_generation(Generation{1}, record).life == Life::kRunning);
  CHECK_FALSE(sources::to_generation(Generation{1}, record).exit_code.has_value());
  record.life = TM_LIFE_EXECED;
  CHECK(sources::to_generation(Generation{1}, record).life == Life::kExeced);
  CHECK_FALSE(sources::to_generation(Generation{1}, record).exit_code.has_value());
}

TEST_CASE("stacks: frames up to their depth, never beyond the record") {
  tm_stack record{};
  record.depth = 2;
  record.end = TM_STACK_BOTTOM;
  for (uint64_t i = 0; i < TM_STACK_DEPTH; ++i) record.frames[i] = 0x1000 + i;
  const auto stack = sources::to_stack(model::StackId{9}, record);
  CHECK(stack.id == model::StackId{9});
  CHECK(stack.frames == std::vector<model::Address>{{0x1000}, {0x1001}});
  record.depth = 0;
  CHECK(sources::to_stack(model::StackId{9}, record).frames.empty());
  for (const uint32_t depth : {127u, 128u, 1000000u, ~0u}) {
    record.depth = depth;
    CHECK(sources::to_stack(model::StackId{9}, record).frames.size() == 127);
  }
}

TEST_CASE("stacks: how a walk ended; what is not known is broken") {
  const auto end_of = [](uint32_t end) {
    tm_stack record{};
    record.end = end;
    return sources::to_stack(model::StackId{1}, record).end;
  };
  CHECK(end_of(TM_STACK_BOTTOM) == model::StackEnd::kBottom);
  CHECK(end_of(TM_STACK_BROKEN) == model::StackEnd::kBroken);
  CHECK(end_of(TM_STACK_DEPTH_LIMIT) == model::StackEnd::kDepthLimit);
  CHECK(end_of(77) == model::StackEnd::kBroken);
}

TEST_CASE("counters: every row is described, and no two have the same name") {
  sources::CounterValues values{};
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = {.count = i + 1, .bytes = 100 + i};
  const auto counters = sources::describe_counters(values);
  REQUIRE(counters.size() == TM_COUNTER_MAX);
  std::set<std::string> names;
  for (std::size_t i = 0; i < counters.size(); ++i) {
    CHECK(names.insert(counters[i].name).second);
    CHECK_FALSE(counters[i].name.empty());
    CHECK_FALSE(counters[i].meaning.empty());
    CHECK(counters[i].count == i + 1);
    if (counters[i].bytes) CHECK(*counters[i].bytes == 100 + i);
  }
  CHECK(counters[TM_COUNTER_blocks_full].name == "blocks_full");
  CHECK(counters[TM_COUNTER_blocks_full].kind == model::CounterKind::kLoss);
  CHECK(counters[TM_COUNTER_blocks_full].bytes.has_value());
  CHECK(counters[TM_COUNTER_unmatched_frees].kind == model::CounterKind::kNote);
  // No bytes are known of it: none, not 0.
  CHECK_FALSE(counters[TM_COUNTER_unmatched_frees].bytes.has_value());
}

TEST_CASE("call sites: what the allocator set aside, where the size decides") {
  const auto usable = [](uint16_t allocator) {
    tm_site_key key = kKey;
    key.allocator = allocator;
    SiteTable table({});
    table.add_site(key, sums(20, 2, 0, 0));
    table.add_block(kAnywhere, block_born(1, key));
    table.add_block(kAnywhere, block_born(2, key));
    return table.take().at(0).live_usable_bytes;
  };
  CHECK(usable(0) == 48);  // glibc: two of 24
  CHECK_FALSE(usable(TM_ALLOCATOR_ALIGNED).has_value());
  CHECK_FALSE(usable(1).has_value());  // musl: its classes are not known
}
