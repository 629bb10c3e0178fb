// SPDX-License-Identifier: Apache-2.0
#include "sources/kernel_records.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

using namespace tidemark;
using namespace tidemark::sources;

namespace {

constexpr uint64_t kCache = 0xffff888000001000;
constexpr uint64_t kCallSite = 0xffffffff81234567;
constexpr Window kWindow{.started_ns = 1000, .taken_ns = 5000};

tm_kernel_cache cache_record(const char* name, uint64_t old_frees = 0) {
  tm_kernel_cache record{};
  std::strncpy(record.name, name, sizeof(record.name) - 1);
  record.old_frees = old_frees;
  return record;
}

tm_kernel_site slab_site(uint64_t total, uint64_t freed, uint64_t stack = 0) {
  tm_kernel_site site{};
  site.place = {kCallSite, kCache, 0, TM_KERNEL_SLAB, 0};
  site.stack_id = stack;
  site.total_count = total;
  site.total_bytes = total * 100;
  site.freed_count = freed;
  site.freed_bytes = freed * 100;
  return site;
}

tm_kernel_site page_site(uint16_t order, uint64_t total, uint64_t stack) {
  tm_kernel_site site{};
  site.place = {0, 0, 0xcc0, TM_KERNEL_PAGE, order};
  site.stack_id = stack;
  site.total_count = total;
  site.total_bytes = total * (uint64_t{4096} << order);
  return site;
}

tm_kernel_block block_of(uint64_t site, uint64_t birth_ns, uint64_t bytes, uint32_t spare = 0) {
  tm_kernel_block block{};
  block.site_id = site;
  block.birth_ns = birth_ns;
  block.size_bytes = bytes;
  block.spare_bytes = spare;
  return block;
}

tm_kernel_stack stack_record(std::initializer_list<uint64_t> frames) {
  tm_kernel_stack stack{};
  stack.depth = static_cast<uint32_t>(frames.size());
  std::ranges::copy(frames, stack.frames);
  return stack;
}

KernelCollected finish(KernelRecords&& records) {
  KernelCollected collected;
  std::move(records).finish(collected);
  return collected;
}

}  // namespace

TEST_CASE("kernel records: a place is one call site, with the stack that holds most") {
  KernelRecords records(kWindow, StackMode::kGrowing);
  records.add_cache(kCache, cache_record("kmalloc-128"));
  records.add_site(1, slab_site(10, 4));
  records.add_site(2, slab_site(5, 0, 77));
  records.add_site(3, slab_site(9, 1, 78));
  records.add_stack(77, stack_record({1, 2, kCallSite, 20}));
  records.add_stack(78, stack_record({1, 2, kCallSite, 30, 31}));
  const auto collected = finish(std::move(records));
  REQUIRE(collected.call_sites.size() == 1);
  const auto& site = collected.call_sites[0];
  CHECK(site.kind == model::Kind::kSlab);
  CHECK(site.place.cache == "kmalloc-128");
  CHECK(site.total_count == 24);
  CHECK(site.live_count() == 19);
  CHECK(site.live_bytes() == 1900);
  REQUIRE(collected.stacks.size() == 1);
  CHECK(collected.stacks[0].id == site.stack);
  CHECK(collected.stacks[0].end == model::StackEnd::kBottom);
  CHECK(collected.stacks[0].frames ==
        std::vector{model::Address{kCallSite}, model::Address{30}, model::Address{31}});
  CHECK(collected.other_stacks.at(site.stack) == 1);
}

TEST_CASE("kernel records: with --stacks always each stack is a call site") {
  KernelRecords records(kWindow, StackMode::kAlways);
  records.add_site(2, slab_site(5, 0, 77));
  records.add_site(3, slab_site(9, 1, 78));
  records.add_stack(77, stack_record({kCallSite, 20}));
  records.add_stack(78, stack_record({5, 6, 7}));
  const auto collected = finish(std::move(records));
  REQUIRE(collected.call_sites.size() == 2);
  CHECK(collected.call_sites[0].live_count() == 5);
  CHECK(collected.call_sites[1].live_count() == 8);
  // A stack without the call site in it is not believed.
  CHECK(collected.stacks[1].frames == std::vector{model::Address{kCallSite}});
  CHECK(collected.stacks[1].end == model::StackEnd::kBroken);
}

TEST_CASE("kernel records: pages are told apart by stack, order and flags") {
  KernelRecords records(kWindow, StackMode::kGrowing);
  records.add_site(1, page_site(0, 3, 0));
  records.add_site(2, page_site(0, 4, 90));
  records.add_site(3, page_site(3, 2, 90));
  records.add_stack(90, stack_record({1, 2, 3}));
  const auto collected = finish(std::move(records));
  REQUIRE(collected.call_sites.size() == 3);
  CHECK(collected.call_sites[0].place.order == 0);
  CHECK(collected.call_sites[0].place.gfp_flags == 0xcc0);
  CHECK(collected.stacks[0].frames.empty());
  CHECK(collected.call_sites[0].stack != model::kStackLost);
  CHECK(collected.stacks[1].frames.size() == 3);
  CHECK(collected.call_sites[2].place.order == 3);
  CHECK(collected.call_sites[2].live_bytes() == 2 * 32768);
}

TEST_CASE("kernel records: blocks give ages, quarters and the room that was set aside") {
  KernelRecords records(kWindow, StackMode::kNever);
  records.add_site(1, slab_site(3, 0));
  records.add_block(block_of(1, 1500, 100, 28), BlockState::kSound);
  records.add_block(block_of(1, 4900, 100, 28), BlockState::kSound);
  records.add_block(block_of(999, 1, 100), BlockState::kSound);  // of no site: passed over
  const auto collected = finish(std::move(records));
  const auto& site = collected.call_sites.at(0);
  CHECK(site.oldest_birth_ns == 1500);
  CHECK(site.youngest_birth_ns == 4900);
  CHECK(site.live_by_quarter[0] == 1);
  CHECK(site.live_by_quarter[3] == 1);
  CHECK(site.live_usable_bytes == 256);
}

TEST_CASE("kernel records: what verification took off is freed, and costs trust") {
  KernelRecords records(kWindow, StackMode::kNever);
  records.add_cache(kCache, cache_record("maple_node", 7));
  auto record = slab_site(10, 6);
  record.missed_frees = 3;
  record.dropped_frees = 2;
  records.add_site(1, record);
  for (int i = 0; i < 4; ++i) records.add_block(block_of(1, 2000, 100), BlockState::kSound);
  const auto collected = finish(std::move(records));
  CHECK(collected.call_sites.at(0).live_count() == 4);
  CHECK(collected.call_sites.at(0).freed_count == 6);
  REQUIRE(collected.tallies.size() == 1);
  const auto& tally = collected.tallies[0];
  CHECK(tally.live_count == 4);
  CHECK(tally.freed_count == 6);
  CHECK(tally.missed_frees == 3);
  CHECK(tally.old_frees == 7);
  CHECK(tally.dropped_by_verification == 2);
}

TEST_CASE("kernel records: pages that are slab are not counted a second time") {
  KernelRecords records(kWindow, StackMode::kNever);
  records.add_site(1, page_site(1, 3, 0));
  auto block = block_of(1, 2000, 8192);
  block.remaining_pages = 2;
  records.add_block(block, BlockState::kElsewhere);
  const auto collected = finish(std::move(records));
  CHECK(collected.call_sites.at(0).total_count == 2);
  CHECK(collected.call_sites.at(0).total_bytes == 2 * 8192);
  CHECK(collected.call_sites.at(0).freed_count == 0);
}

TEST_CASE("kernel records: what a page is found to be") {
  const auto page = [](uint32_t use) { return tm_page_verdict{1, 0, use, 0}; };
  // Freed after the last verification: live when the trace ended.
  CHECK(judge_page(page(TM_PAGE_FREE), false) == BlockState::kSound);
  CHECK(judge_page(page(TM_PAGE_SLAB), true) == BlockState::kElsewhere);
  CHECK(judge_page(page(TM_PAGE_LARGE_KMALLOC), false) == BlockState::kElsewhere);
  CHECK(judge_page(page(TM_PAGE_LRU), false) == BlockState::kElsewhere);
  CHECK(judge_page(page(TM_PAGE_LRU), true) == BlockState::kSound);
  CHECK(judge_page(page(TM_PAGE_OTHER), false) == BlockState::kSound);
  CHECK(judge_page(page(TM_PAGE_UNKNOWN), false) == BlockState::kSound);
}
