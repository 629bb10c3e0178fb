// SPDX-License-Identifier: Apache-2.0
//
// What is taken off stacks that lead out of code, said with literals.
#include "collect/stack_cleaner.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace tidemark;
using model::Address;
using model::Generation;
using model::StackId;

namespace {

constexpr Generation kOwner{1};

model::ProcessImage image_of(std::vector<std::pair<uint64_t, uint64_t>> code) {
  model::ProcessImage image;
  for (const auto& [start, end] : code) {
    model::Mapping mapping;
    mapping.start = {start};
    mapping.end = {end};
    mapping.executable = true;
    image.mappings.push_back(mapping);
  }
  return image;
}

collect::CodeRanges ranges(std::vector<std::pair<uint64_t, uint64_t>> code) {
  collect::CodeRanges result;
  result.learn(image_of(std::move(code)));
  return result;
}

// Code from 0x1000 to 0x2000, and the sites and stacks that are to be cleaned.
struct Cleaning {
  collect::CodeByOwner code;
  std::vector<model::CallSite> sites;
  std::vector<model::Stack> stacks;

  Cleaning() { code[kOwner] = ranges({{0x1000, 0x2000}}); }
  void stack(uint64_t id, std::vector<Address> frames,
             model::StackEnd end = model::StackEnd::kBroken) {
    stacks.push_back({.id = {id}, .end = end, .frames = std::move(frames)});
  }
  model::CallSite& site(uint64_t stack_id, uint64_t bytes, Generation owner = kOwner) {
    model::CallSite& added = sites.emplace_back();
    added.owner = owner;
    added.allocator = "glibc";
    added.stack = {stack_id};
    added.total_bytes = bytes;
    added.total_count = 1;
    return added;
  }
  void clean() { collect::clean_stacks(code, sites, stacks); }
  [[nodiscard]] const model::Stack& stack_of(const model::CallSite& site) const {
    const auto found = std::ranges::find(stacks, site.stack, &model::Stack::id);
    REQUIRE(found != stacks.end());
    return *found;
  }
};

using Frames = std::vector<Address>;

}  // namespace

TEST_CASE("code: the page of the kernel's trampolines holds no caller") {
  auto image = image_of({{0x1000, 0x2000}, {0x7fffffffe000, 0x7ffffffff000}});
  image.mappings[1].path = "[uprobes]";
  collect::CodeRanges code;
  code.learn(image);
  CHECK(code.contains({0x1800}));
  CHECK_FALSE(code.contains({0x7fffffffe000}));
}

TEST_CASE("code: from its first address to the first behind it") {
  const auto code = ranges({{0x1000, 0x2000}});
  CHECK_FALSE(code.contains({0xfff}));
  CHECK(code.contains({0x1000}));
  CHECK(code.contains({0x1fff}));
  CHECK(code.contains({0x2000}));  // behind a call that never returns
  CHECK_FALSE(code.contains({0x2001}));
  CHECK_FALSE(collect::CodeRanges().contains({0}));
}

TEST_CASE("code: data is none") {
  auto image = image_of({{0x1000, 0x2000}});
  image.mappings[0].executable = false;
  collect::CodeRanges code;
  code.learn(image);
  CHECK_FALSE(code.contains({0x1800}));
}

TEST_CASE("code: ranges that touch or overlap become one, gaps stay") {
  auto code = ranges({{0x1000, 0x2000}, {0x2000, 0x3000}, {0x5000, 0x6000}});
  CHECK(code.contains({0x2fff}));
  CHECK_FALSE(code.contains({0x4000}));
  code.learn(image_of({{0x2800, 0x5800}}));
  CHECK(code.contains({0x4000}));
  CHECK(code.contains({0x5fff}));
  CHECK(code.contains({0x1000}));
  CHECK_FALSE(code.contains({0x6001}));
  code.learn(image_of({{0x3000, 0x3100}}));  // inside
  CHECK(code.contains({0x5fff}));
  code.learn(image_of({{0, 0x10000}}));  // around everything
  CHECK(code.contains({0x8000}));
}

TEST_CASE("code: what was there stays there, over the whole life") {
  auto code = ranges({{0x1000, 0x2000}});
  code.learn(image_of({{0x9000, 0xa000}}));
  code.learn(image_of({}));
  CHECK(code.contains({0x1800}));
  CHECK(code.contains({0x9800}));
}

TEST_CASE("clean: a stack ends before the first frame that is no code") {
  Cleaning c;
  c.stack(5, {{0x1100}, {0x1200}, {0xdead}, {0x1300}}, model::StackEnd::kBottom);
  c.site(5, 10);
  c.clean();
  REQUIRE(c.sites.size() == 1);
  CHECK(c.sites[0].stack != StackId{5});
  CHECK(c.sites[0].stack != model::kStackLost);
  CHECK(c.stack_of(c.sites[0]).frames == Frames{{0x1100}, {0x1200}});
  CHECK(c.stack_of(c.sites[0]).end == model::StackEnd::kBroken);
}

TEST_CASE("clean: what is all code stays as it is") {
  Cleaning c;
  c.stack(5, {{0x1100}, {0x1200}}, model::StackEnd::kBottom);
  c.site(5, 10);
  c.clean();
  CHECK(c.sites[0].stack == StackId{5});
  CHECK(c.stacks.size() == 1);
  CHECK(c.stacks[0].end == model::StackEnd::kBottom);
}

TEST_CASE("clean: the first frame stays, it was read from the stack itself") {
  Cleaning c;
  c.stack(5, {{0xdead}, {0x1200}});
  c.stack(6, {{0xdead}});
  c.stack(7, {{0xdead}, {0xbeef}});
  c.stack(8, {});
  for (const uint64_t id : {5, 6, 7, 8}) c.site(id, 1);
  c.clean();
  REQUIRE(c.sites.size() >= 2);
  for (const auto& site : c.sites) {
    const auto& frames = c.stack_of(site).frames;
    if (!frames.empty()) CHECK(frames[0] == Address{0xdead});
  }
}

TEST_CASE("clean: owners that are not known, and stacks that were lost, are not touched") {
  Cleaning c;
  c.stack(5, {{0x1100}, {0xdead}});
  c.site(5, 10, Generation{9});
  c.site(0, 20);
  c.site(77, 30);
  c.clean();
  REQUIRE(c.sites.size() == 3);
  CHECK(c.sites[0].stack == StackId{5});
  CHECK(c.sites[1].stack == model::kStackLost);
  CHECK(c.sites[2].stack == StackId{77});
  CHECK(c.stacks.size() == 1);
}

TEST_CASE("clean: one stack of two owners is cleaned for the one whose code is known") {
  Cleaning c;
  c.stack(5, {{0x1100}, {0xdead}});
  c.site(5, 10);
  c.site(5, 20, Generation{9});
  c.clean();
  REQUIRE(c.sites.size() == 2);
  for (const auto& site : c.sites) {
    CHECK(c.stack_of(site).frames.size() == (site.owner == kOwner ? 1 : 2));
  }
}

TEST_CASE("clean: call sites that become the same are one, with the sums of both") {
  Cleaning c;
  c.stack(5, {{0x1100}, {0xdead}});
  c.stack(6, {{0x1100}, {0xbeef}, {0x1200}});
  auto& first = c.site(5, 10);
  first.freed_bytes = 3;
  first.oldest_birth_ns = 50;
  first.youngest_birth_ns = 60;
  first.live_by_quarter[1] = 2;
  auto& second = c.site(6, 20);
  second.freed_bytes = 4;
  second.freed_count = 1;
  second.oldest_birth_ns = 40;
  second.youngest_birth_ns = 55;
  second.live_by_quarter[1] = 1;
  second.live_by_quarter[3] = 7;
  c.site(6, 5).freed_bytes = 5;  // without ages: nothing of it is live
  c.clean();
  REQUIRE(c.sites.size() == 1);
  CHECK(c.stack_of(c.sites[0]).frames == Frames{{0x1100}});
  CHECK(c.sites[0].total_bytes == 35);
  CHECK(c.sites[0].total_count == 3);
  CHECK(c.sites[0].freed_bytes == 12);
  CHECK(c.sites[0].freed_count == 1);
  CHECK(c.sites[0].oldest_birth_ns == 40u);
  CHECK(c.sites[0].youngest_birth_ns == 60u);
  CHECK(c.sites[0].live_by_quarter[1] == 3);
  CHECK(c.sites[0].live_by_quarter[3] == 7);
}

TEST_CASE("clean: other allocators and owners stay apart") {
  Cleaning c;
  c.code[Generation{2}] = ranges({{0x1000, 0x2000}});
  c.stack(5, {{0x1100}, {0xdead}});
  c.site(5, 10);
  c.site(5, 20, Generation{2});
  c.site(5, 30).allocator = "jemalloc";
  c.clean();
  CHECK(c.sites.size() == 3);
}

// The header's promise: call sites whose stacks then are the same become one.
TEST_CASE("clean: a cut stack and one that was the same from the start are one") {
  Cleaning c;
  c.stack(5, {{0x1100}, {0x1200}});
  c.stack(6, {{0x1100}, {0x1200}, {0xdead}});
  SUBCASE("the whole one first") {
    c.site(5, 10);
    c.site(6, 20);
  }
  SUBCASE("the cut one first") {
    c.site(6, 20);
    c.site(5, 10);
  }
  c.clean();
  REQUIRE(c.sites.size() == 1);
  CHECK(c.sites[0].total_bytes == 30);
}

namespace {

struct Sites {
  std::vector<model::CallSite> sites;
  std::vector<model::Stack> stacks;

  void add(uint64_t id, std::vector<Address> frames, model::StackEnd end, bool guessed,
           Generation owner = Generation{1}) {
    model::Stack stack;
    stack.id = model::StackId{id};
    stack.frames = std::move(frames);
    stack.end = end;
    stack.guessed = guessed;
    stacks.push_back(stack);
    model::CallSite site;
    site.owner = owner;
    site.stack = stack.id;
    site.total_count = 1;
    sites.push_back(site);
  }
  [[nodiscard]] uint64_t count_of(uint64_t id) const {
    for (const model::CallSite& site : sites) {
      if (site.stack == model::StackId{id}) return site.total_count;
    }
    return 0;
  }
};

}  // namespace

TEST_CASE("guessed stacks: become the only whole one that begins alike") {
  Sites all;
  all.add(1, {{10}, {20}}, model::StackEnd::kBroken, true);
  all.add(2, {{10}, {20}, {30}}, model::StackEnd::kBottom, false);
  all.add(3, {{10}, {21}}, model::StackEnd::kBroken, true);
  all.add(4, {{10}}, model::StackEnd::kBroken, false);
  collect::complete_guessed(all.sites, all.stacks);
  CHECK(all.count_of(1) == 0);
  CHECK(all.count_of(2) == 2);
  CHECK(all.count_of(3) == 1);  // begins otherwise
  CHECK(all.count_of(4) == 1);  // cut, but nothing was guessed
}

TEST_CASE("guessed stacks: where none is whole, become the one that ends there, or goes on") {
  Sites all;
  all.add(1, {{10}, {20}}, model::StackEnd::kBroken, true);
  all.add(2, {{10}, {20}}, model::StackEnd::kBroken, false);
  all.add(3, {{10}, {20}, {30}}, model::StackEnd::kBroken, false);
  collect::complete_guessed(all.sites, all.stacks);
  CHECK(all.count_of(1) == 0);
  CHECK(all.count_of(2) == 2);
  CHECK(all.count_of(3) == 1);
  Sites longer;
  longer.add(1, {{10}, {20}}, model::StackEnd::kBroken, true);
  longer.add(2, {{10}, {20}, {30}}, model::StackEnd::kBroken, false);
  collect::complete_guessed(longer.sites, longer.stacks);
  CHECK(longer.count_of(2) == 2);
}

TEST_CASE("guessed stacks: stay where two begin alike, or another owner's does") {
  Sites all;
  all.add(1, {{10}}, model::StackEnd::kBroken, true);
  all.add(2, {{10}, {20}}, model::StackEnd::kBottom, false);
  all.add(3, {{10}, {21}}, model::StackEnd::kBottom, false);
  all.add(4, {{40}}, model::StackEnd::kBroken, true);
  all.add(5, {{40}, {50}}, model::StackEnd::kBottom, false, Generation{2});
  collect::complete_guessed(all.sites, all.stacks);
  CHECK(all.sites.size() == 5);
  CHECK(all.count_of(1) == 1);
  CHECK(all.count_of(4) == 1);
}
