// SPDX-License-Identifier: Apache-2.0
//
// What is lost is counted, and the sums stay those of what was recorded.
#include <doctest/doctest.h>

#include <cerrno>

#include "trace.h"

using namespace tidemark::bpf_host;
using Addresses = std::vector<uint64_t>;

TEST_CASE("block table full: counted, no phantom totals, and room again after a free") {
  Trace trace;
  trace.kernel.table("blocks").set_capacity(2);
  trace.main.malloc(100, 0xa000);
  trace.main.malloc(20, 0xb000);
  trace.main.malloc(3, 0xc000);
  CHECK(trace.total() == Totals{120, 2});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_blocks_full, {1, 3}}}));
  trace.main.free(0xc000);
  CHECK(trace.live() == Totals{120, 2});
  trace.main.free(0xa000);
  trace.main.malloc(4, 0xd000);
  CHECK(trace.addresses() == Addresses{0xb000, 0xd000});
  CHECK(trace.live() == Totals{24, 2});
  CHECK(trace.adds_up());
  CHECK(
      trace.counted_only({{TM_COUNTER_blocks_full, {1, 3}}, {TM_COUNTER_unmatched_frees, {1, 0}}}));
}

TEST_CASE("site table full: counted, known call sites go on") {
  Trace trace;
  trace.kernel.table("sites").set_capacity(1);
  trace.main.malloc(100, 0xa000);
  trace.main.caller = 0x2001;
  trace.main.malloc(20, 0xb000);
  trace.main.malloc(30, 0xc000);
  trace.main.caller = 0x1001;
  trace.main.malloc(4, 0xd000);
  CHECK(trace.addresses() == Addresses{0xa000, 0xd000});
  CHECK(trace.live() == Totals{104, 2});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_sites_full, {2, 50}}}));
}

TEST_CASE("site table full: a realloc still takes its old block off") {
  Trace trace;
  trace.kernel.table("sites").set_capacity(1);
  trace.main.malloc(100, 0xa000);
  trace.main.caller = 0x2001;
  SUBCASE("moved") {
    trace.main.realloc(0xa000, 250, 0xb000);
    CHECK(trace.addresses().empty());
    CHECK(trace.live() == Totals{0, 0});
    CHECK(trace.counted_only({{TM_COUNTER_sites_full, {1, 250}}}));
  }
  SUBCASE("failed") {
    trace.main.realloc(0xa000, 250, 0);
    CHECK(trace.addresses() == Addresses{0xa000});
    CHECK(trace.live() == Totals{100, 1});
    CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {1, 250}}}));
  }
  CHECK(trace.adds_up());
}

TEST_CASE("stack table full: the bytes still count, under id 0") {
  Trace trace;
  trace.kernel.table("stacks").set_capacity(1);
  trace.main.malloc(100, 0xa000);
  trace.main.caller = 0x2001;
  trace.main.malloc(20, 0xb000);
  trace.main.caller = 0x3001;
  trace.main.malloc(3, 0xc000);
  trace.main.caller = 0x1001;
  trace.main.malloc(4, 0xd000);
  CHECK(trace.block(0xa000).site.stack_id != 0);
  CHECK(trace.block(0xb000).site.stack_id == 0);
  CHECK(trace.block(0xc000).site.stack_id == 0);
  CHECK(trace.block(0xd000).site.stack_id == trace.block(0xa000).site.stack_id);
  CHECK(trace.live() == Totals{127, 4});
  CHECK(trace.kernel.table("sites").size() == 2);
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_stacks_full, {2, 23}}}));
}

TEST_CASE("stack table full: a block that is not recorded at all is no loss of its stack") {
  Trace trace;
  trace.kernel.table("stacks").set_capacity(1);
  trace.kernel.table("blocks").set_capacity(1);
  trace.main.malloc(100, 0xa000);
  trace.main.caller = 0x2001;
  trace.main.malloc(20, 0xb000);
  trace.main.malloc(7, 0);
  CHECK(trace.counted_only(
      {{TM_COUNTER_blocks_full, {1, 20}}, {TM_COUNTER_failed_allocations, {1, 7}}}));
}

TEST_CASE("draining: frees of blocks that came too late to be recorded say nothing") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  gate_state = TM_GATE_DRAINING;
  trace.main.malloc(20, 0xb000);
  trace.main.free(0xb000);
  trace.main.free(0xa000);
  CHECK(trace.live() == Totals{0, 0});
  CHECK(trace.counted_only({}));
}

TEST_CASE("missed free: the address is given out again, the old record is replaced") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  trace.main.caller = 0x2001;
  trace.main.malloc(20, 0xa000);
  CHECK(trace.addresses() == Addresses{0xa000});
  CHECK(trace.block(0xa000).size_bytes == 20);
  CHECK(trace.frames_of(0xa000).front() == 0x2001);
  CHECK(trace.live() == Totals{20, 1});
  CHECK(trace.total() == Totals{120, 2});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_missed_frees, {1, 100}}}));
}

TEST_CASE("missed free: another CPU takes the old record first") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  trace.main.call(0x2001);
  trace.main.enter(kMalloc, {20});
  trace.kernel.table("blocks").after_next_lookup([&] { trace.other.free(0xa000); });
  trace.main.leave(0xa000);
  CHECK(trace.live() == Totals{20, 1});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_racing_frees, {1, 0}}}));
}

TEST_CASE("double free: taken off once, the second matches nothing") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  trace.main.malloc(20, 0xb000);
  trace.main.free(0xa000);
  trace.main.free(0xa000);
  CHECK(trace.live() == Totals{20, 1});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_unmatched_frees, {1, 0}}}));
}

TEST_CASE("double free: two at the same time, the delete decides") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  trace.kernel.table("blocks").after_next_lookup([&] { trace.other.free(0xa000); });
  trace.main.free(0xa000);
  CHECK(trace.live() == Totals{0, 0});
  CHECK(trace.total() == Totals{100, 1});
  CHECK(trace.adds_up());
}

// One event, one counter: it is no free of a block that is older than the trace.
TEST_CASE("double free: two at the same time are counted as that and nothing else") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  trace.kernel.table("blocks").after_next_lookup([&] { trace.other.free(0xa000); });
  trace.main.free(0xa000);
  CHECK(trace.counted_only({{TM_COUNTER_racing_frees, {1, 0}}}));
}

TEST_CASE("free: of a block that is older than the trace, and of a block twice given") {
  Trace trace;
  trace.main.free(0x7000);
  CHECK(trace.total() == Totals{0, 0});
  CHECK(trace.counted_only({{TM_COUNTER_unmatched_frees, {1, 0}}}));
}

TEST_CASE("refused for another reason than a full table: said as that") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  SUBCASE("the block") {
    trace.kernel.table("blocks").refuse_next_insert(EBUSY);
    trace.main.malloc(20, 0xb000);
    CHECK(trace.live() == Totals{100, 1});
    CHECK(trace.counted_only({{TM_COUNTER_updates_refused, {1, 20}}}));
  }
  SUBCASE("its owner, at the first event of an address space") {
    const uint64_t mm = trace.kernel.records.address_of(kMm);
    REQUIRE(trace.kernel.table("owners").erase(&mm) == 0);
    trace.kernel.table("owners").refuse_next_insert(ENOMEM);
    trace.main.malloc(20, 0xb000);
    CHECK(trace.live() == Totals{100, 1});
    CHECK(trace.counted_only({{TM_COUNTER_updates_refused, {1, 0}}}));
    trace.main.malloc(3, 0xc000);
    CHECK(trace.live() == Totals{103, 2});
  }
  CHECK(trace.adds_up());
}

// The program holds the address of an element that is someone else's after the delete.
TEST_CASE("copy before delete: what is taken off is what was recorded") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  trace.main.malloc(20, 0xb000);
  trace.main.free(0xa000);
  const auto sites = trace.kernel.table("sites").entries<tm_site_key, tm_site>();
  REQUIRE(sites.size() == 1);
  CHECK(sites[0].second.freed_bytes == 100);
  CHECK(sites[0].second.freed_count == 1);
  CHECK(trace.adds_up());
}
