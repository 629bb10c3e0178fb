// SPDX-License-Identifier: Apache-2.0
//
// What the auditor makes of what the books say, look by look.
#include <doctest/doctest.h>

#include "audit/auditor.h"
#include "audit_fakes.h"

using namespace tidemark;
using audit::Depth;
using audit::State;
using model::LiveBlock;
using test::FakeMemory;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kBase = 0x10000;

// What the books are to say next, by address; what they were asked.
struct Script {
  std::map<uint64_t, State> states;
  std::optional<Error> self_test;
  std::vector<uint64_t> asked;
  int walks = 0;
  FakeMemory* memory = nullptr;
};

// Tests run one after the other; a row of a table has no room for more than a function.
Script* script = nullptr;

class FakeBooks final : public audit::Books {
 public:
  Status self_test(const audit::Target&, std::span<const audit::Block>) override {
    if (script->self_test) return std::unexpected(*script->self_test);
    return {};
  }
  Result<std::vector<audit::Observation>> look(const audit::Target&,
                                               std::span<const audit::Block> blocks) override {
    script->asked.clear();
    std::vector<audit::Observation> seen;
    for (const audit::Block& block : blocks) {
      script->asked.push_back(block.address.value);
      seen.push_back({script->states[block.address.value], 0});
    }
    return seen;
  }
  Status look_through(const audit::Target&, std::span<const audit::Block>,
                      std::span<audit::Observation>, uint64_t) override {
    ++script->walks;
    return {};
  }
};

Result<std::unique_ptr<audit::Books>> open_fake(const audit::Target&) {
  return std::make_unique<FakeBooks>();
}

constexpr audit::AllocatorBooks kFake{"fake", open_fake, ""};
constexpr audit::AllocatorBooks kClosed{"closed", nullptr, "its books are closed"};

LiveBlock block_at(uint64_t address, uint64_t birth_ns = 0, uint64_t size = 16) {
  return {.owner = {1}, .address = {address}, .size_bytes = size, .birth_ns = birth_ns};
}

struct Fixture {
  Fixture() {
    script = &plan;
    for (const uint64_t address : {kBase, kBase + 64}) plan.states[address] = State::kLooksLive;
  }
  ~Fixture() { script = nullptr; }
  void look(std::vector<LiveBlock> blocks, uint64_t now_ns, Depth depth = Depth::kQuick,
            std::string allocator = "fake") {
    auditor.look({.owner = {1},
                  .allocator = std::move(allocator),
                  .module = "/lib",
                  .blocks = blocks,
                  .youngest = std::move(blocks)},
                 depth, {now_ns});
  }
  model::AuditShares shares(std::vector<LiveBlock> blocks) {
    return auditor.shares_of("fake", blocks).value_or(model::AuditShares{});
  }

  Script plan;
  audit::Auditor auditor{
      audit::Limits{},
      audit::Access{
          .image = [](model::Generation) { return model::ProcessImage{}; },
          .memory = [this](model::Generation) -> Result<std::unique_ptr<audit::MemoryReader>> {
            auto memory = std::make_unique<FakeMemory>();
            memory->map(kBase, 4096);
            plan.memory = memory.get();
            return memory;
          },
          .books = [](std::string_view name) -> const audit::AllocatorBooks& {
            return name == "fake" ? kFake : kClosed;
          }}};
};

}  // namespace

TEST_CASE_FIXTURE(Fixture,
                  "a block that stays as it is looks live and unchanged, from the second look") {
  const std::vector<LiveBlock> blocks = {block_at(kBase)};
  look(blocks, 2 * kSecond);
  CHECK(shares(blocks) == model::AuditShares{.looks_live_once = 1, .same_for_ns = {}});
  look(blocks, 5 * kSecond);
  CHECK(shares(blocks) == model::AuditShares{.looks_live_same = 1, .same_for_ns = 3 * kSecond});
  SUBCASE("until it is written to, for good") {
    plan.memory->put(kBase, 7);
    look(blocks, 6 * kSecond);
    plan.memory->put(kBase, 0);
    look(blocks, 7 * kSecond);
    CHECK(shares(blocks) == model::AuditShares{.looks_live_other = 1, .same_for_ns = {}});
  }
}

TEST_CASE_FIXTURE(Fixture, "a young block is not compared: it is being filled in") {
  const std::vector<LiveBlock> blocks = {block_at(kBase, 2 * kSecond)};
  look(blocks, 2 * kSecond + 1000);
  plan.memory->put(kBase, 7);
  look(blocks, 4 * kSecond);
  CHECK(shares(blocks).looks_live_once == 1);
  look(blocks, 5 * kSecond);
  CHECK(shares(blocks).looks_live_same == 1);
}

TEST_CASE_FIXTURE(Fixture, "dead and changed are for good, and not asked for again") {
  const std::vector<LiveBlock> blocks = {block_at(kBase), block_at(kBase + 64)};
  plan.states[kBase] = State::kDead;
  plan.states[kBase + 64] = State::kChanged;
  look(blocks, 2 * kSecond);
  CHECK(shares(blocks) == model::AuditShares{.dead = 1, .changed = 1, .same_for_ns = {}});
  for (auto& [address, state] : plan.states) state = State::kLooksLive;
  look(blocks, 3 * kSecond);
  CHECK(plan.asked.empty());
  CHECK(shares(blocks) == model::AuditShares{.dead = 1, .changed = 1, .same_for_ns = {}});
}

TEST_CASE_FIXTURE(Fixture, "another block at the same address is another block") {
  plan.states[kBase] = State::kDead;
  look({block_at(kBase, 1)}, 2 * kSecond);
  CHECK_FALSE(auditor.shares_of("fake", std::vector{block_at(kBase, 2)}));
  CHECK_FALSE(auditor.shares_of("fake", std::vector{block_at(kBase, 1, 32)}));
  CHECK_FALSE(auditor.shares_of("other", std::vector{block_at(kBase, 1)}));
}

TEST_CASE_FIXTURE(Fixture, "of blocks that are not asked for any more nothing is kept") {
  look({block_at(kBase)}, 2 * kSecond);
  look({block_at(kBase + 64)}, 3 * kSecond);
  CHECK_FALSE(auditor.shares_of("fake", std::vector{block_at(kBase)}));
}

TEST_CASE_FIXTURE(Fixture, "only a thorough look goes through the heap") {
  look({block_at(kBase)}, 2 * kSecond);
  CHECK(plan.walks == 0);
  look({block_at(kBase)}, 3 * kSecond, Depth::kThorough);
  CHECK(plan.walks == 1);
  CHECK(auditor.cost().looks == 2);
  CHECK(auditor.cost().blocks == 2);
  CHECK(auditor.cost().bytes_read == 32);
}

TEST_CASE_FIXTURE(Fixture, "an audit that fails its self-test is off, and says so") {
  plan.self_test = Error{"of 64 blocks 64 are astray"};
  look({block_at(kBase)}, 2 * kSecond);
  CHECK_FALSE(auditor.shares_of("fake", std::vector{block_at(kBase)}));
  REQUIRE(auditor.coverage().size() == 1);
  CHECK(auditor.coverage()[0].hook == "audit of fake");
  CHECK(auditor.coverage()[0].state == model::HookState::kOff);
  CHECK(auditor.coverage()[0].reason ==
        "its books did not pass the self-test: of 64 blocks 64 are astray");
  SUBCASE("and is tried again") {
    plan.self_test.reset();
    look({block_at(kBase)}, 3 * kSecond);
    CHECK(auditor.coverage()[0].state == model::HookState::kOn);
    CHECK(shares({block_at(kBase)}).looks_live_once == 1);
  }
}

TEST_CASE_FIXTURE(Fixture, "a self-test on few blocks is made again when there are more") {
  look({block_at(kBase)}, 2 * kSecond);
  CHECK(auditor.coverage().size() == 1);
  plan.self_test = Error{"of 64 blocks 64 are astray"};
  look({block_at(kBase)}, 3 * kSecond);
  REQUIRE(auditor.coverage().size() == 2);
  CHECK(auditor.coverage()[1].state == model::HookState::kOff);
  plan.self_test.reset();
  std::vector<model::LiveBlock> many;
  for (uint64_t i = 0; i < 8; ++i) many.push_back(block_at(kBase + i * 64));
  look(many, 4 * kSecond);
  plan.self_test = Error{"of 64 blocks 64 are astray"};
  look(many, 5 * kSecond);
  REQUIRE(auditor.coverage().size() == 1);
  CHECK(auditor.coverage()[0].state == model::HookState::kOn);
}

TEST_CASE_FIXTURE(Fixture, "an allocator whose books nobody reads is told with the reason") {
  look({block_at(kBase)}, 2 * kSecond, Depth::kQuick, "closed");
  REQUIRE(auditor.coverage().size() == 1);
  CHECK(auditor.coverage()[0].reason == "its books are closed");
  CHECK(auditor.cost().looks == 0);
}

TEST_CASE_FIXTURE(Fixture, "what was seen of a process that has ended stays known") {
  look({block_at(kBase)}, 2 * kSecond);
  plan.memory->gone = true;
  look({block_at(kBase)}, 3 * kSecond);
  auditor.release({1});
  CHECK(shares({block_at(kBase)}).looks_live_once == 1);
}

TEST_CASE_FIXTURE(Fixture,
                  "in a window only blocks that are new are looked up, and others are kept") {
  look({block_at(kBase)}, kSecond);
  audit::Subject subject{.owner = {1},
                         .allocator = "fake",
                         .module = "/lib",
                         .blocks = {block_at(kBase), block_at(kBase + 64)},
                         .youngest = {},
                         .only_new = true};
  auditor.look(subject, Depth::kQuick, {3 * kSecond});
  // Probes say that they are live: the books are not asked, which takes time while probes are
  // there.
  CHECK(plan.asked == std::vector<uint64_t>{kBase});
  CHECK(auditor.cost().blocks == 2);
  look({block_at(kBase), block_at(kBase + 64)}, 5 * kSecond);
  const auto seen = auditor.seen_of("fake", block_at(kBase));
  REQUIRE(seen);
  CHECK(seen->verdict == model::AuditVerdict::kUnchanged);
  CHECK(seen->at_ns == 5 * kSecond);
}

TEST_CASE_FIXTURE(Fixture,
                  "blocks that begin alike, or that follow alike at a place, are no proof") {
  const auto blocks = std::vector{block_at(kBase), block_at(kBase + 64)};
  look(blocks, 2 * kSecond);
  CHECK(auditor.same_by_chance("fake", blocks) == 1.0);
  CHECK_FALSE(auditor.same_by_chance("fake", std::vector{block_at(kBase)}).has_value());
  // They differ, but who comes next at a place finds what the last one left.
  plan.memory->put(kBase + 64, 7);
  std::vector<LiveBlock> next;
  for (uint64_t birth_ns = 3 * kSecond; birth_ns < 7 * kSecond; birth_ns += kSecond) {
    next = {block_at(kBase, birth_ns), block_at(kBase + 64, birth_ns)};
    look(next, birth_ns + 2 * kSecond);
  }
  CHECK(auditor.same_by_chance("fake", next).value_or(0) > 0.8);
}
