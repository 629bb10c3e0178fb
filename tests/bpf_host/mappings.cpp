// SPDX-License-Identifier: Apache-2.0
//
// What userspace is told of system calls that change mappings: each at the moment when another
// thread could be given the place, and nothing of anyone else's.
#include <doctest/doctest.h>

#include <cerrno>

#include "mapping_trace.h"

using namespace tidemark::bpf_host;

namespace {

constexpr uint64_t kThreadFlag = 0x00010000;  // CLONE_THREAD
constexpr uint64_t kBreak = 0x600000;

}  // namespace

TEST_CASE("mappings: mmap is told when it has a place") {
  MappingTrace trace;
  trace.begin(__NR_mmap, {0, 0x3000, 3, 0x22});
  CHECK(trace.told().empty());
  trace.end(__NR_mmap, {0, 0x3000, 3, 0x22}, 0x10000);
  CHECK(trace.told() == Lines{"mapped start 10000 length 3000 flags 22"});
  trace.call(__NR_mmap, {0, 0x3000, 3, 0x22}, failed(ENOMEM));
  CHECK(trace.told().empty());
  CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {1, 0}}}));
}

TEST_CASE("mappings: munmap is told before the place is free, and taken back if it failed") {
  MappingTrace trace;
  trace.begin(__NR_munmap, {0x10000, 0x1000});
  CHECK(trace.told() == Lines{"unmap start 10000 length 1000"});
  trace.end(__NR_munmap, {0x10000, 0x1000}, 0);
  CHECK(trace.told().empty());
  trace.call(__NR_munmap, {0x10001, 0x1000}, failed(EINVAL));
  CHECK(trace.told() == Lines{"unmap start 10001 length 1000", "undo"});
  CHECK(trace.counted_only({}));
}

TEST_CASE("mappings: mremap gives the old place back first") {
  MappingTrace trace;
  trace.begin(__NR_mremap, {0x10000, 0x1000, 0x5000, 1});
  CHECK(trace.told() == Lines{"remap start 10000 old 10000 old_length 1000"});
  trace.end(__NR_mremap, {0x10000, 0x1000, 0x5000, 1}, 0x40000);
  CHECK(trace.told() ==
        Lines{"remapped start 40000 length 5000 old 10000 old_length 1000 flags 1"});
  trace.call(__NR_mremap, {0x10000, 0x1000, 0x5000, 0}, failed(ENOMEM));
  CHECK(trace.told() == Lines{"remap start 10000 old 10000 old_length 1000", "undo"});
  CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {1, 0}}}));
}

TEST_CASE("mappings: brk says where the break was; one that only asks is none") {
  MappingTrace trace;
  trace.kernel.records.set_break(kMm, kBreak);
  trace.call(__NR_brk, {0}, kBreak);
  CHECK(trace.told().empty());
  trace.call(__NR_brk, {kBreak + 0x2000}, kBreak + 0x2000);
  CHECK(trace.told() == Lines{"break start 602000 old 600000", "broke start 602000"});
  // A failed one returns the break as it is: userspace sees that it has not moved.
  trace.call(__NR_brk, {kBreak + 0x9000}, kBreak);
  CHECK(trace.told() == Lines{"break start 609000 old 600000", "broke start 600000"});
  CHECK(trace.counted_only({}));
}

TEST_CASE("mappings: shmat tells the segment's size, wherever the kernel keeps it") {
  MappingTrace trace;
  TaskRecords& records = trace.kernel.records;
  SUBCASE("the only one") {
    records.add_segment(0x18000, 0, 0x4000);  // used for the fourth time: 3 << 15
    trace.call(__NR_shmat, {0x18000, 0, 0}, 0x50000);
    CHECK(trace.told() == Lines{"attached start 50000 length 4000"});
  }
  SUBCASE("one of many, by a tree of three levels") {
    for (const uint32_t index : {0u, 5u, 64u, 4095u, 4096u, 5000u}) {
      records.add_segment(index | 0x8000, index, 0x1000 * (index + 1));
    }
    trace.call(__NR_shmat, {5000 | 0x8000, 0, 0}, 0x50000);
    trace.call(__NR_shmat, {64 | 0x8000, 0, 0}, 0x60000);
    CHECK(trace.told() ==
          Lines{"attached start 50000 length 1389000", "attached start 60000 length 41000"});
  }
  SUBCASE("with more than 15 bits of index") {
    records.add_segment(0x1012345, 0x12345, 0x7000);
    trace.call(__NR_shmat, {0x1012345, 0, 0}, 0x50000);
    CHECK(trace.told() == Lines{"attached start 50000 length 7000"});
  }
  SUBCASE("unknown: another one has its place by now") {
    records.add_segment(0x8000, 0, 0x4000);
    trace.call(__NR_shmat, {0, 0, 0}, 0x50000);
    CHECK(trace.told() == Lines{"attached start 50000"});
  }
  CHECK(trace.counted_only({}));
}

TEST_CASE("mappings: shmdt and a shmat that fails") {
  MappingTrace trace;
  trace.call(__NR_shmat, {7, 0, 0}, failed(EINVAL));
  CHECK(trace.told().empty());
  trace.call(__NR_shmdt, {0x50000}, 0);
  trace.call(__NR_shmdt, {0x50001}, failed(EINVAL));
  CHECK(trace.told() == Lines{"detach start 50000", "detach start 50001", "undo"});
  CHECK(trace.counted_only({{TM_COUNTER_failed_allocations, {1, 0}}}));
}

TEST_CASE("mappings: clone tells whose stack it was given, fork tells nothing") {
  MappingTrace trace;
  trace.call(__NR_clone, {kThreadFlag, 0x20000}, 102);
  trace.call(__NR_clone, {17, 0}, 103);
  CHECK(trace.told() == Lines{"stack start 1ffff flags 10000"});
  // struct clone_args: flags, ..., stack, stack_size.
  trace.kernel.add_memory(0x9000, 0x9040);
  trace.kernel.write(0x9000, kThreadFlag);
  trace.kernel.write(0x9028, 0x20000);
  trace.kernel.write(0x9030, 0x8000);
  trace.call(__NR_clone3, {0x9000, 64}, 104);
  CHECK(trace.told() == Lines{"stack start 27fff flags 10000"});
  trace.kernel.write(0x9028, 0);
  trace.call(__NR_clone3, {0x9000, 64}, 105);
  trace.call(__NR_clone3, {0xdead0000, 64}, failed(EFAULT));
  CHECK(trace.told().empty());
  CHECK(trace.counted_only({}));
}

TEST_CASE("mappings: only of those who are traced, only these calls, only by their own numbers") {
  MappingTrace trace;
  trace.call(__NR_madvise, {0x10000, 0x1000, 4}, 0);
  trace.kernel.compat = true;
  trace.call(__NR_munmap, {0x10000, 0x1000}, 0);
  trace.kernel.compat = false;
  const Thread stranger(trace.kernel, {.tgid = 900, .tid = 900, .mm = 0x9000}, 0x10000, 0x20000);
  trace.begin(stranger, __NR_munmap, {0x10000, 0x1000});
  trace.end(stranger, __NR_mmap, {0, 0x1000, 3, 0x22}, 0x10000);
  CHECK(trace.told().empty());
  CHECK(trace.counted_only({}));
}

TEST_CASE("mappings: the gate: what is given back counts longer than what is new") {
  MappingTrace trace;
  trace.kernel.records.set_break(kMm, kBreak);
  const auto all = [&] {
    trace.call(__NR_mmap, {0, 0x3000, 3, 0x22}, 0x10000);
    trace.call(__NR_brk, {kBreak + 0x1000}, kBreak + 0x1000);
    trace.call(__NR_brk, {kBreak - 0x1000}, kBreak - 0x1000);
    trace.call(__NR_mremap, {0x10000, 0x3000, 0x1000, 0}, 0x10000);
    trace.call(__NR_munmap, {0x10000, 0x1000}, 0);
  };
  for (const tm_gate gate : {TM_GATE_CLOSED, TM_GATE_LEARNING}) {
    gate_state = gate;
    all();
    CHECK(trace.told().empty());
  }
  gate_state = TM_GATE_DRAINING;
  all();
  CHECK(trace.told() == Lines{"broke start 601000", "break start 5ff000 old 600000",
                              "broke start 5ff000", "remap start 10000 old 10000 old_length 3000",
                              "remapped start 10000 length 1000 old 10000 old_length 3000",
                              "unmap start 10000 length 1000"});
  CHECK(trace.counted_only({}));
}

TEST_CASE("mappings: a record that finds no room is a loss with its bytes") {
  MappingTrace trace;
  trace.kernel.ring_room = 1;
  trace.call(__NR_munmap, {0x10000, 0x1000}, 0);
  trace.call(__NR_munmap, {0x20000, 0x3000}, 0);
  trace.call(__NR_mmap, {0, 0x5000, 3, 0x22}, 0x10000);
  CHECK(trace.told() == Lines{"unmap start 10000 length 1000"});
  CHECK(trace.counted_only({{TM_COUNTER_mapping_records_lost, {2, 0x8000}}}));
}

// The second copy is there for when the first was skipped.
TEST_CASE("copies: the first that runs does the work") {
  MappingTrace trace;
  const SystemCall unmap{.number = __NR_munmap, .arguments = {0x10000, 0x1000}};
  const SystemCall map{.number = __NR_mmap, .arguments = {0, 0x3000, 3, 0x22}};
  constexpr SyscallProgram both[] = {mapping_enter1, mapping_enter2};
  const auto& task = trace.main.task;
  for (const SyscallProgram program : both) trace.kernel.enter(program, task, unmap);
  for (const SyscallProgram program : {mapping_exit1, mapping_exit2}) {
    trace.kernel.leave(program, task, unmap, failed(EINVAL));
  }
  CHECK(trace.told() == Lines{"unmap start 10000 length 1000", "undo"});
  for (const SyscallProgram program : {mapping_exit1, mapping_exit2}) {
    trace.kernel.leave(program, task, map, 0x10000);
  }
  // Its beginning was skipped, and all is known at the end.
  CHECK(trace.told() == Lines{"mapped start 10000 length 3000 flags 22"});
  // The first copy is skipped, and not in the next call of the same kind.
  trace.kernel.enter(mapping_enter2, task, unmap);
  trace.kernel.leave(mapping_exit2, task, unmap, 0);
  for (const SyscallProgram program : both) trace.kernel.enter(program, task, unmap);
  trace.kernel.leave(mapping_exit1, task, unmap, 0);
  CHECK(trace.told() == Lines{"unmap start 10000 length 1000", "unmap start 10000 length 1000"});
  CHECK(trace.counted_only({}));
}

TEST_CASE("copies: what none of them saw is noticed") {
  MappingTrace trace;
  SUBCASE("the end: another call begins") {
    trace.begin(__NR_munmap, {0x10000, 0x1000});
    trace.begin(__NR_mremap, {0x10000, 0x1000, 0x5000, 1});
    CHECK(trace.told().size() == 2);
  }
  SUBCASE("the end: the same call begins again") {
    trace.begin(__NR_munmap, {0x10000, 0x1000});
    trace.begin(__NR_munmap, {0x10000, 0x1000});
    CHECK(trace.told().size() == 2);
  }
  SUBCASE("the beginning, which alone tells what is given back") {
    trace.call(__NR_munmap, {0x10000, 0x1000}, 0);
    trace.end(__NR_munmap, {0x20000, 0x1000}, 0);
    CHECK(trace.told() == Lines{"unmap start 10000 length 1000"});
  }
  CHECK(trace.counted_only({{TM_COUNTER_mapping_calls_missed, {1, 0}}}));
}

TEST_CASE("copies: a call that was under way when the trace began is none that was missed") {
  MappingTrace trace;
  trace.end(__NR_munmap, {0x10000, 0x1000}, 0);
  CHECK(trace.told().empty());
  CHECK(trace.counted_only({}));
}
