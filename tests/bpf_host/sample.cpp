// SPDX-License-Identifier: Apache-2.0
//
// Sampling: the fixed-point arithmetic against the mathematics in doubles, who is decided upon and
// how often, and that the sums are right on average.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "model/sampling.h"
#include "trace.h"

using namespace tidemark;
using namespace tidemark::bpf_host;

namespace {

constexpr uint32_t kInterval = 64 << 10;
constexpr double kOne = 1 << TM_COUNT_PLACES;
// Around the usual caller; where malloc and realloc are probed.
constexpr uint64_t kCode = 0x800, kCodeEnd = 0x3000, kCaller = 0x1008;
constexpr uint64_t kMallocSite = 0x5000, kReallocSite = 0x5200;

struct SampledTrace : Trace {
  explicit SampledTrace(uint32_t interval, bool sessions = true, uint32_t seed = 1) {
    set_constants({.sampling = true, .sessions = sessions});
    sampling_interval = interval;
    kernel.random.seed(seed);
    kernel.table("blocks").set_capacity(1 << 20);
    kernel.add_memory(kCode, kCodeEnd);
    main.caller = kCaller;
    calls(kMallocSite);
  }
  ~SampledTrace() { set_constants({}); }

  // The usual caller's instruction: call rel32 to `function`.
  void calls(uint64_t function) {
    const auto distance = static_cast<uint32_t>(function - main.caller);
    kernel.write(main.caller - 8, uint64_t{distance} << 32 | uint64_t{0xe8} << 24);
  }
  // Is a call that is decided against left alone: no trampoline in the slot of its return address?
  bool is_quiet(const Function& function) {
    main.call(main.caller);
    const uint64_t slot = main.sp;
    main.enter(function, {0, 8});
    const bool quiet = kernel.word_at(slot) == main.caller;
    main.leave(0xa000);
    return quiet;
  }
};

double exponential(uint32_t random, uint32_t interval) {
  return -std::log((random + 1.0) / 4294967296.0) * interval;
}

}  // namespace

TEST_CASE("sample: distances are those of the logarithm, for all of its range") {
  for (const uint32_t interval : {TM_LEAST_INTERVAL_BYTES, 512u << 10, TM_MOST_INTERVAL_BYTES}) {
    std::vector<uint32_t> randoms = {0,         1, 2, 3, 1u << 31, (1u << 31) - 1, UINT32_MAX - 1,
                                     UINT32_MAX};
    std::mt19937 source(7);
    for (int i = 0; i < 20000; ++i) randoms.push_back(source() >> (i % 32));
    for (const uint32_t random : randoms) {
      const double exact = exponential(random, interval);
      const auto fixed = static_cast<double>(draw_distance(random, interval));
      // Rounded down, and 27 binary places.
      REQUIRE(fixed <= exact + 1 + exact * 1e-8);
      REQUIRE(fixed >= exact - 1 - interval * 1.5e-8 - exact * 1e-8);
    }
  }
}

TEST_CASE("sample: weights are those of the mathematics, for all sizes and intervals") {
  set_constants({.sampling = true});
  for (uint32_t interval = TM_LEAST_INTERVAL_BYTES; interval <= TM_MOST_INTERVAL_BYTES;
       interval *= 2) {
    for (uint64_t size = 1; size < 1ull << 40; size += size / 3 + 1) {
      __u64 bytes = 0, count = 0;
      weigh_block(size, interval, &bytes, &count);
      const model::SampleWeight exact = model::weigh_sample(size, interval);
      REQUIRE(static_cast<double>(bytes) == doctest::Approx(exact.bytes).epsilon(2e-6).scale(1e6));
      REQUIRE(std::abs(static_cast<double>(count) / kOne - exact.count) <=
              exact.count * 2e-6 + 2 / kOne);
    }
  }
  set_constants({});
}

TEST_CASE("sample: a block that is not sampled takes no return and leaves nothing") {
  SampledTrace trace(TM_MOST_INTERVAL_BYTES);
  for (int i = 0; i < 100; ++i) {
    trace.main.call(trace.main.caller);
    const uint64_t slot = trace.main.sp;
    trace.main.enter(kMallocSession, {8});
    CHECK(trace.kernel.word_at(slot) == trace.main.caller);
    trace.main.leave(0xa000);
    trace.main.free(0xa000);
  }
  CHECK(trace.addresses().empty());
  CHECK(trace.counted_only({}));
  CHECK(trace.hits(0) == 100);
}

TEST_CASE(
    "sample: a free takes off what its allocation put on, however many intervals there were") {
  for (const bool sessions : {true, false}) {
    SampledTrace trace(kInterval, sessions);
    std::mt19937 source(3);
    uint64_t address = 0x10000;
    std::vector<uint64_t> live;
    for (int i = 0; i < 20000; ++i) {
      if (i % 5000 == 4999) sampling_interval = sampling_interval / 2;
      const uint64_t size = source() % (i % 10 == 0 ? 200000 : 500);
      trace.main.whole_call(sessions ? kMallocSession : kMalloc, {size}, address);
      live.push_back(address);
      address += 0x40000;
    }
    CHECK(trace.addresses().size() > 100);
    CHECK(trace.live().bytes > 0);
    for (const uint64_t block : live) trace.main.free(block);
    CHECK(trace.live() == Totals{0, 0});
    CHECK(trace.addresses().empty());
    CHECK(trace.counted_only({}));
  }
}

TEST_CASE("sample: sums are right on average, and their error is as large as it says") {
  for (const bool sessions : {true, false}) {
    constexpr int kRuns = 300;
    double sum = 0, square = 0, counts = 0, covered = 0, true_bytes = 0, true_count = 0;
    for (uint32_t seed = 1; seed <= kRuns; ++seed) {
      SampledTrace trace(kInterval, sessions, seed);
      std::mt19937 source(11);  // the same stream in every run
      uint64_t address = 0x10000;
      true_bytes = true_count = 0;
      for (int i = 0; i < 3000; ++i) {
        const uint64_t size = 16u << (source() % 12);
        trace.main.whole_call(sessions ? kMallocSession : kMalloc, {size}, address);
        if (source() % 3 == 0) {
          trace.main.free(address);
        } else {
          true_bytes += static_cast<double>(size);
          true_count += 1;
        }
        address += 0x40000;
      }
      double variance = 0;
      for (const uint64_t block : trace.addresses()) {
        const tm_block record = trace.block(block);
        variance += model::weigh_sample(record.size_bytes, record.interval_bytes).variance;
      }
      const auto estimate = static_cast<double>(trace.live().bytes);
      const double error = static_cast<double>(model::half_width_95(estimate, variance, kInterval));
      covered += std::abs(estimate - true_bytes) <= error;
      sum += estimate;
      square += estimate * estimate;
      counts += static_cast<double>(trace.live().count) / kOne;
    }
    const double mean = sum / kRuns;
    const double standard_error = std::sqrt((square / kRuns - mean * mean) / kRuns);
    CHECK(std::abs(mean - true_bytes) <= 3 * standard_error);
    CHECK(counts / kRuns == doctest::Approx(true_count).epsilon(0.1));
    // 300 runs at 95 %: three standard deviations are 3.8 %.
    CHECK(covered / kRuns >= 0.91);
  }
}

TEST_CASE("sample: what a call that was decided against calls is decided upon with it") {
  // All marks are far away, until one would lie in the very next block.
  SampledTrace trace(TM_MOST_INTERVAL_BYTES);
  trace.calls(kReallocSite);
  trace.main.call(trace.main.caller);
  trace.main.enter(kReallocSession, {0, 100});
  sampling_interval = 1;  // what is drawn anew is sampled
  SUBCASE("by a call from the allocator's own code") {
    trace.main.inner_call(kMallocSession, {100}, 0xa000);
    CHECK(trace.addresses().empty());
  }
  SUBCASE("by a jump at its end") {
    trace.main.enter(kMallocSession, {100000});
    CHECK(trace.addresses().empty());
  }
  SUBCASE("by a jump, behind somebody else's return probe") {
    trace.kernel.write(trace.main.sp, kTrampoline);
    trace.main.enter(kMallocSession, {100000});
    CHECK(trace.addresses().empty());
  }
  SUBCASE("by a call from its own code, behind somebody else's return probe") {
    trace.kernel.write(trace.main.sp, kTrampoline);
    trace.main.inner_call(kMallocSession, {100}, 0xa000);
    CHECK(trace.addresses().empty());
  }
  SUBCASE("not a call from other code of the library, as strdup's") {
    trace.main.call(kOwnEnd + 8);
    trace.main.enter(kMallocSession, {100000});
    trace.main.leave(0xa000);
    CHECK(trace.addresses() == std::vector<uint64_t>{0xa000});
  }
  trace.main.leave(0xa000);
  CHECK(trace.counted_only({}));
}

// A wrapper makes a malloc of realloc(NULL), by a jump; or a register says what is called.
TEST_CASE("sample: where one call instruction may call several functions, returns are seen") {
  SampledTrace trace(TM_MOST_INTERVAL_BYTES);
  SUBCASE("call rel32 of a function in between") {
    trace.calls(0x2000);
  }
  SUBCASE("call *%rax") {
    trace.kernel.write(trace.main.caller - 8, 0xd0ffull << 48);
  }
  trace.main.call(trace.main.caller);
  trace.main.enter(kReallocSession, {0, 100});
  CHECK(trace.kernel.word_at(trace.main.sp) == kTrampoline);
  sampling_interval = 1;
  SUBCASE("a jump at its end is a part of it") {
    trace.main.enter(kMallocSession, {100});
    trace.main.leave(0xb000);
    CHECK(trace.addresses().empty());
    CHECK(trace.counted_only({{TM_COUNTER_nested_calls, {1, 100}}}));
  }
  SUBCASE("what it calls next is decided upon anew") {
    trace.main.leave(0xb000);
    trace.main.whole_call(kMallocSession, {100}, 0xa000);
    CHECK(trace.addresses() == std::vector<uint64_t>{0xa000});
    CHECK(trace.counted_only({}));
  }
}

TEST_CASE("sample: what a call instruction leads to is found through PLT and GOT") {
  SampledTrace trace(TM_MOST_INTERVAL_BYTES);
  constexpr uint64_t kStub = 0x2000, kSlot = 0x2100;
  trace.kernel.write(kSlot, kReallocSite - 12);  // the probe is some bytes behind the entry
  trace.calls(kStub);
  SUBCASE("jmp *slot") {
    trace.kernel.write(kStub, (kSlot - kStub - 6) << 16 | 0x25ff);
  }
  SUBCASE("endbr64; bnd jmp *slot") {
    trace.kernel.write(kStub, 0x25fff2ull << 32 | (kSlot - kStub - 11) << 56 | 0xfa1e0ff3);
    trace.kernel.write(kStub + 8, (kSlot - kStub - 11) >> 8);
  }
  SUBCASE("endbr64; jmp *slot") {
    trace.kernel.write(kStub, 0x25ffull << 32 | (kSlot - kStub - 10) << 48 | 0xfa1e0ff3);
    trace.kernel.write(kStub + 8, (kSlot - kStub - 10) >> 16);
  }
  SUBCASE("call *slot") {
    trace.kernel.write(trace.main.caller - 8, (kSlot - trace.main.caller) << 32 | 0x15ffull << 16);
  }
  CHECK(trace.is_quiet(kReallocSession));
  // Known by now, whatever is read.
  trace.kernel.write(kSlot, 0);
  CHECK(trace.is_quiet(kReallocSession));
}

TEST_CASE("sample: before the dynamic linker has bound it, a call through the PLT is followed") {
  SampledTrace trace(TM_MOST_INTERVAL_BYTES);
  constexpr uint64_t kStub = 0x2000, kSlot = 0x2100;
  trace.calls(kStub);
  trace.kernel.write(kStub, (kSlot - kStub - 6) << 16 | 0x25ff);
  trace.kernel.write(kSlot, kStub + 6);
  CHECK_FALSE(trace.is_quiet(kReallocSession));
  trace.kernel.write(kSlot, kReallocSite);
  CHECK(trace.is_quiet(kReallocSession));
}

TEST_CASE(
    "sample: realloc of a block that is recorded is followed, whatever becomes of the new one") {
  SampledTrace trace(1);
  trace.main.whole_call(kMallocSession, {100000}, 0xa000);
  REQUIRE(trace.addresses() == std::vector<uint64_t>{0xa000});
  sampling_interval = TM_MOST_INTERVAL_BYTES;
  SUBCASE("it succeeds: the old one is off") {
    trace.main.whole_call(kReallocSession, {0xa000, 8}, 0xb000);
    CHECK(trace.addresses().empty());
    CHECK(trace.live() == Totals{0, 0});
  }
  SUBCASE("it fails: the old one stays") {
    trace.main.whole_call(kReallocSession, {0xa000, 8}, 0);
    CHECK(trace.addresses() == std::vector<uint64_t>{0xa000});
    CHECK(trace.live().bytes == 100000);
  }
  SUBCASE("of one that is not recorded nothing is followed") {
    trace.main.whole_call(kReallocSession, {0xc000, 8}, 0xd000);
    CHECK(trace.addresses() == std::vector<uint64_t>{0xa000});
    CHECK(trace.counted_only({}));
  }
}

TEST_CASE("sample: an argument that a compiler has moved is found") {
  Trace trace;
  Function malloc = kMalloc;
  malloc.argument_registers = TM_REGISTER_SI;
  trace.main.call(trace.main.caller);
  trace.main.enter(malloc, {1, 640});
  trace.main.leave(0xa000);
  malloc.argument_registers = TM_REGISTER_10;
  trace.main.call(trace.main.caller);
  trace.main.enter_with(malloc, Registers{.arguments = {1, 2, 3}, .r10 = 320});
  trace.main.leave(0xb000);
  CHECK(trace.live() == Totals{960, 2});
}
