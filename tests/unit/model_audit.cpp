// SPDX-License-Identifier: Apache-2.0
//
// Samples of blocks for the audit, and what its shares make of a suspect.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "model/analysis.h"
#include "model/audit.h"

using namespace tidemark::model;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;

LiveBlock block_of(uint64_t seed, uint64_t address) {
  return {.owner = {1},
          .address = {address},
          .size_bytes = 64,
          .birth_ns = address * 10,
          .lot = draw_lot(seed, {address}, address * 10)};
}

std::set<uint64_t> addresses_of(const BlockSample& sample) {
  std::set<uint64_t> addresses;
  for (const LiveBlock& block : sample.blocks) addresses.insert(block.address.value);
  return addresses;
}

// A steady leak: 1000 blocks of 256 bytes in 10 s.
Snapshot leak(std::optional<AuditShares> audit) {
  Snapshot snapshot;
  snapshot.started_ns = 1000 * kSecond;
  snapshot.taken_ns = 1010 * kSecond;
  CallSite site;
  site.owner = {1};
  site.allocator = "glibc";
  site.stack = {7};
  site.total_count = 1000;
  site.total_bytes = 256'000;
  for (uint64_t& quarter : site.live_by_quarter) quarter = 250;
  site.audit = audit;
  snapshot.call_sites = {site};
  return snapshot;
}

}  // namespace

TEST_CASE("a sample holds each block with the same chance") {
  constexpr uint64_t kBlocks = 1000;
  constexpr uint64_t kRuns = 400;
  uint64_t old_ones = 0;
  for (uint64_t seed = 0; seed < kRuns; ++seed) {
    BlockSample sample{.most = 50, .blocks = {}};
    for (uint64_t address = 1; address <= kBlocks; ++address)
      sample.offer(block_of(seed, address * 16));
    REQUIRE(sample.blocks.size() == 50);
    for (const uint64_t address : addresses_of(sample)) old_ones += address <= kBlocks / 4 * 16;
  }
  // 12.5 of 50 in each run are of the first quarter; 7 standard deviations around it.
  CHECK(old_ones > 400 * 12.5 - 7 * 60);
  CHECK(old_ones < 400 * 12.5 + 7 * 60);
}

TEST_CASE("a sample is the same again, as far as its blocks are still live") {
  BlockSample before{.most = 32, .blocks = {}};
  BlockSample after{.most = 32, .blocks = {}};
  for (uint64_t address = 16; address <= 1600; address += 16) {
    before.offer(block_of(1, address));
    if (address % 64 != 0) after.offer(block_of(1, address));
  }
  const auto kept = addresses_of(after);
  for (const uint64_t address : addresses_of(before)) {
    if (address % 64 != 0) CHECK(kept.contains(address));
  }
}

TEST_CASE("samples of two call sites add up to one of both") {
  BlockSample one{.most = 16, .blocks = {}};
  BlockSample other{.most = 16, .blocks = {}};
  BlockSample both{.most = 16, .blocks = {}};
  for (uint64_t address = 16; address <= 1600; address += 16) {
    (address % 32 == 0 ? one : other).offer(block_of(1, address));
    both.offer(block_of(1, address));
  }
  one.offer(other);
  CHECK(addresses_of(one) == addresses_of(both));
}

TEST_CASE("analysis: an audit that finds the blocks allocated stands in the evidence") {
  const auto findings = analyse(
      leak(AuditShares{.looks_live_same = 90, .looks_live_other = 10, .same_for_ns = 8 * kSecond}),
      {});
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].severity == Severity::kSuspect);
  CHECK(findings[0].evidence.find("of 100 blocks looked up in the allocator's own books 0.0 % are "
                                  "free, 0.0 % changed, 90.0 % look live and unchanged for 8.0 s, "
                                  "10.0 % look live and were written to") != std::string::npos);
}

TEST_CASE("analysis: a call site most of whose blocks are free already is no suspect") {
  const auto findings =
      analyse(leak(AuditShares{.dead = 60, .looks_live_same = 40, .same_for_ns = {}}), {});
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].severity == Severity::kInfo);
  CHECK(findings[0].what ==
        "is no suspect: 60 of 100 of its blocks are free by the allocator's own books");
  SUBCASE("but not by a few blocks, and not by changed ones") {
    for (const AuditShares& shares :
         {AuditShares{.dead = 5, .same_for_ns = {}},
          AuditShares{.dead = 40, .looks_live_same = 60, .same_for_ns = {}},
          AuditShares{.changed = 100, .same_for_ns = {}},
          AuditShares{.unknown = 100, .same_for_ns = {}}}) {
      CHECK(analyse(leak(shares), {}).front().severity == Severity::kSuspect);
    }
  }
}

TEST_CASE("analysis: what is, or may soon be, a suspect is to be audited") {
  Snapshot snapshot = leak({});
  CallSite burst = snapshot.call_sites[0];
  burst.stack = {8};
  burst.live_by_quarter[0] = 1000;
  for (int quarter = 1; quarter < 4; ++quarter) burst.live_by_quarter[quarter] = 0;
  CallSite mapping = snapshot.call_sites[0];
  mapping.kind = Kind::kMapping;
  CallSite small = snapshot.call_sites[0];
  small.total_count = 8;
  small.total_bytes = 8 * 1024;
  for (uint64_t& quarter : small.live_by_quarter) quarter = 2;
  snapshot.call_sites = {burst, small, mapping, snapshot.call_sites[0]};
  CHECK(audit_candidates(snapshot, {}, 10) == std::vector<std::size_t>{3, 1});
  CHECK(audit_candidates(snapshot, {}, 1) == std::vector<std::size_t>{3});
}
