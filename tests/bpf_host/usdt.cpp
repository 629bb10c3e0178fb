// SPDX-License-Identifier: Apache-2.0
//
// Allocations that the target itself tells of, beside those that its allocator's probes see.
#include <doctest/doctest.h>

#include "trace.h"

using namespace tidemark::bpf_host;

namespace {

constexpr uint16_t kTold = 7;  // the allocator of what is told
constexpr Function kUsdtAlloc{
    .program = heap_usdt_alloc, .probe = 20, .returns = false, .allocator = kTold};
constexpr Function kUsdtFree{
    .program = heap_usdt_free, .probe = 21, .returns = false, .allocator = kTold};

// The next hits of both probes tell of this block.
void tell_of(Trace& trace, uint64_t address, uint64_t weight) {
  tm_usdt usdt{};
  for (tm_usdt_argument& argument : usdt.arguments) {
    argument.place = TM_PLACE_CONSTANT;
    argument.size_bytes = 8;
  }
  usdt.arguments[0].value = static_cast<int64_t>(address);
  usdt.arguments[2].value = static_cast<int64_t>(weight);
  for (const uint32_t probe : {20u, 21u})
    REQUIRE(trace.kernel.table("usdt_arguments").update(&probe, &usdt, 0) == 0);
}

void tell_alloc(Trace& trace, uint64_t address, uint64_t weight) {
  tell_of(trace, address, weight);
  trace.main.whole_call(kUsdtAlloc, {}, 0);
}

void tell_free(Trace& trace, uint64_t address) {
  tell_of(trace, address, 0);
  trace.main.whole_call(kUsdtFree, {}, 0);
}

}  // namespace

TEST_CASE("usdt: counts with its weight, is freed, and is told to be an estimate") {
  Trace trace;
  tell_alloc(trace, 0xa000, 4096);
  tell_alloc(trace, 0xb000, 512);
  CHECK(trace.live() == Totals{4608, 2});
  tell_free(trace, 0xa000);
  CHECK(trace.live() == Totals{512, 1});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({{TM_COUNTER_told_allocations, {2, 4608}}}));
}

TEST_CASE("usdt: of a block that malloc gave out, or of its inside, is counted once") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  tell_alloc(trace, 0xa000, 4096);
  tell_alloc(trace, 0xa010, 4096);
  CHECK(trace.live() == Totals{100, 1});
  tell_free(trace, 0xa010);
  tell_free(trace, 0xa000);
  CHECK(trace.live() == Totals{100, 1});
  trace.main.free(0xa000);
  CHECK(trace.live() == Totals{0, 0});
  tell_alloc(trace, 0xa010, 4096);  // the room is another allocator's by now
  CHECK(trace.live() == Totals{4096, 1});
  CHECK(trace.counted_only({{TM_COUNTER_told_allocations, {1, 4096}}}));
}

TEST_CASE("usdt: inside of a call that is counted by itself") {
  Trace trace;
  tell_of(trace, 0xa000, 4096);
  trace.main.call(0x1001);
  trace.main.enter(kMalloc, {100});
  trace.main.inner_call(kUsdtAlloc, {}, 0);
  trace.main.leave(0xa000);
  CHECK(trace.live() == Totals{100, 1});
  CHECK(trace.counted_only({}));
}
