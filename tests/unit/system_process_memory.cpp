// SPDX-License-Identifier: Apache-2.0
#include "system/process_memory.h"

#include <doctest/doctest.h>

#include <unistd.h>

#include <algorithm>

using namespace tidemark;
using namespace tidemark::system;

namespace {

constexpr const char* kStatus =
    "Name:\tnginx: worker\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4711\nVmSize:\t  184064 kB\n"
    "VmRSS:\t   11248 kB\nRssAnon:\t 10124 kB\nRssFile:\t 1124 kB\nRssShmem:\t 0 kB\n"
    "VmPTE:\t 80 kB\nVmSwap:\t 12 kB\nThreads:\t3\n";

constexpr uint64_t kStack = 32u << 20;

// `count` stacks as glibc maps them: a page that nobody may touch, and the rest above it. `size`:
// of both together.
std::string stacks(int count, uint64_t address, uint64_t size = kStack) {
  std::string maps;
  for (int at = 0; at < count; ++at, address += size) {
    maps += fmt::format("{:x}-{:x} ---p 00000000 00:00 0 \n{:x}-{:x} rw-p 00000000 00:00 0 \n",
                        address, address + 4096, address + 4096, address + size);
  }
  return maps;
}

}  // namespace

TEST_CASE("status: sizes of a process") {
  const auto parsed = parse_memory_status(kStatus);
  REQUIRE(parsed.has_value());
  REQUIRE(parsed->has_value());
  const model::ProcessMemory& process = **parsed;
  CHECK(process.comm == "nginx: worker");
  CHECK(process.virtual_bytes == 184064ull * 1024);
  CHECK(process.rss_bytes == 11248ull * 1024);
  CHECK(process.rss_anon_bytes == 10124ull * 1024);
  CHECK(process.rss_shmem_bytes == 0);
  CHECK(process.swap_bytes == 12ull * 1024);
  CHECK(process.page_table_bytes == 80ull * 1024);
  CHECK(process.threads == 3);
}

TEST_CASE("status: a kernel thread is none; a cut file is an error; a missing line is unknown") {
  const auto thread = parse_memory_status("Name:\tkworker/1:3\nThreads:\t1\n");
  REQUIRE(thread.has_value());
  CHECK_FALSE(thread->has_value());
  CHECK_FALSE(parse_memory_status("").has_value());
  CHECK_FALSE(parse_memory_status("Name:\tx\nVmSize:\t 1 kB\n").has_value());
  const auto old_kernel =
      parse_memory_status("Name:\tx\nVmSize:\t 8 kB\nVmRSS:\t 4 kB\nThreads:\t1\n");
  REQUIRE(old_kernel.has_value());
  REQUIRE(old_kernel->has_value());
  CHECK_FALSE((*old_kernel)->swap_bytes.has_value());
  CHECK_FALSE((*old_kernel)->rss_anon_bytes.has_value());
}

TEST_CASE("stat: the start, behind a name with brackets and blanks") {
  CHECK(parse_start_ticks(
            "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 1\n") == 4242);
  CHECK_FALSE(parse_start_ticks("7 (a) S 1 2\n").has_value());
  CHECK_FALSE(parse_start_ticks("").has_value());
}

TEST_CASE("smaps_rollup: PSS and USS; smaps is summed") {
  const auto rollup = parse_proportional_size(
      "1-2 ---p 00000000 00:00 0    [rollup]\nRss: 100 kB\nPss: 40 kB\nPss_Anon: 9 kB\n"
      "Private_Clean: 3 kB\nPrivate_Dirty: 5 kB\n");
  REQUIRE(rollup.has_value());
  CHECK(rollup->pss_bytes == 40 * 1024);
  CHECK(rollup->uss_bytes == 8 * 1024);
  const auto smaps = parse_proportional_size("Pss: 1 kB\nPrivate_Dirty: 1 kB\nPss: 2 kB\n");
  REQUIRE(smaps.has_value());
  CHECK(smaps->pss_bytes == 3 * 1024);
  CHECK_FALSE(parse_proportional_size("").has_value());
  CHECK_FALSE(parse_proportional_size("Rss: 1 kB\n").has_value());
}

TEST_CASE("smaps: mappings with their flags") {
  const auto mappings = parse_memory_mappings(
      "00400000-00531000 r-xp 00000000 fc:02 687197   /opt/bin/proxy test\n"
      "Size:               1220 kB\nRss:                 928 kB\nSwap:                  4 kB\n"
      "VmFlags: rd ex mr mw me\n"
      "7faab436e000-7faab4616000 rw-p 00000000 00:00 0 \nRss: 272 kB\n");
  REQUIRE(mappings.size() == 2);
  CHECK(mappings[0].path == "/opt/bin/proxy test");
  CHECK(mappings[0].size_bytes == 0x131000);
  CHECK(mappings[0].rss_bytes == 928 * 1024);
  CHECK(mappings[0].swap_bytes == 4 * 1024);
  CHECK(mappings[0].flags == std::vector<std::string>{"rd", "ex", "mr", "mw", "me"});
  CHECK(mappings[1].path.empty());
  CHECK_FALSE(mappings[1].swap_bytes.has_value());
}

TEST_CASE("thread stacks: 91 of 32 MiB, in a 32-bit process") {
  const auto mappings = parse_memory_mappings(
      "08048000-08100000 r-xp 00000000 08:01 1 /srv/worker\n" + stacks(91, 0x10000000) +
      "ff000000-ff021000 rw-p 00000000 00:00 0 [stack]\n");
  const auto found = find_thread_stacks(mappings);
  REQUIRE(found.has_value());
  CHECK(found->count == 91);
  CHECK(found->each_bytes == 32u << 20);
  CHECK(found->total_bytes == 91ull * (32u << 20));
  CHECK(is_32_bit(mappings));
}

TEST_CASE("thread stacks: the guard may come on top of what was asked for") {
  const auto found =
      find_thread_stacks(parse_memory_mappings(stacks(4, 0x7f0000000000, kStack + 4096)));
  REQUIRE(found.has_value());
  CHECK(found->count == 4);
  CHECK(found->each_bytes == kStack);
}

// Linux 6.1: the first thread's stack and the variables of a library that was mapped before it.
TEST_CASE("thread stacks: one that grew together with what lies above it is one of them") {
  const std::string grown =
      "7f5000000000-7f5000001000 ---p 00000000 00:00 0 \n"
      "7f5000001000-7f5002004000 rw-p 00000000 00:00 0 \n";
  const auto found = find_thread_stacks(parse_memory_mappings(stacks(90, 0x7e0000000000) + grown));
  REQUIRE(found.has_value());
  CHECK(found->count == 91);
  CHECK(found->each_bytes == kStack);
  CHECK(found->total_bytes == 91 * kStack);
}

TEST_CASE("thread stacks: arenas of malloc are none, one stack is none") {
  // An arena: what is in use, and above it what may not be touched yet.
  std::string arenas;
  for (uint64_t at = 0x7f0000000000; at < 0x7f0000000000 + 4 * 0x4000000ull; at += 0x4000000) {
    arenas += fmt::format("{:x}-{:x} rw-p 00000000 00:00 0 \n{:x}-{:x} ---p 00000000 00:00 0 \n",
                          at, at + 0x21000, at + 0x21000, at + 0x4000000);
  }
  CHECK_FALSE(find_thread_stacks(parse_memory_mappings(arenas)).has_value());
  CHECK_FALSE(find_thread_stacks(parse_memory_mappings(stacks(1, 0x10000000))).has_value());
  CHECK_FALSE(is_32_bit(parse_memory_mappings(arenas)));
  CHECK_FALSE(is_32_bit({}));
}

TEST_CASE("processes: our own is among them, with PSS and mappings") {
  const auto processes = read_process_memory(HostRoot(), {});
  REQUIRE(processes.has_value());
  const auto self =
      std::ranges::find(*processes, model::Pid{::getpid()}, &model::ProcessMemory::pid);
  REQUIRE(self != processes->end());
  CHECK(self->rss_bytes > 0);
  CHECK(self->pss_bytes.value_or(0) > 0);
  CHECK(self->start_ticks.value_or(0) > 0);
  CHECK(self->threads == 1);
  CHECK(std::ranges::is_sorted(*processes, std::greater(), &model::ProcessMemory::rss_bytes));
}

TEST_CASE("processes: a directory without any is an error") {
  CHECK_FALSE(read_process_memory(HostRoot("/no/such/place"), {}).has_value());
}
