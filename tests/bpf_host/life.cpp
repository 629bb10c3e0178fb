// SPDX-License-Identifier: Apache-2.0
//
// Whose blocks they are: the generation of the address space, from the first event to exec or exit.
#include <doctest/doctest.h>

#include <optional>

#include "trace.h"

using namespace tidemark::bpf_host;

namespace {

constexpr uint64_t kNewMm = 0xffff888000002000;

std::optional<tm_generation> generation(Trace& trace, uint32_t number) {
  const void* found = trace.kernel.table("generations").lookup(&number);
  if (found == nullptr) return std::nullopt;
  return *static_cast<const tm_generation*>(found);
}

std::vector<tm_block_key> keys(Trace& trace) {
  std::vector<tm_block_key> result;
  for (const auto& [key, block] : trace.kernel.table("blocks").entries<tm_block_key, tm_block>()) {
    result.push_back(key);
  }
  return result;
}

}  // namespace

TEST_CASE("owner: a process that nobody asked for is not counted") {
  Trace trace;
  Thread stranger(trace.kernel, {.tgid = 300, .tid = 300, .mm = kNewMm}, 0x10000, 0x20000);
  stranger.malloc(100, 0xa000);
  stranger.free(0xa000);
  CHECK(trace.total() == Totals{0, 0});
  CHECK(trace.kernel.table("owners").size() == 0);
  CHECK(trace.counted_only({}));
}

TEST_CASE("owner: tidemark itself is not counted, whoever asks") {
  Trace trace;
  set_constants({.self_tgid = 100});
  trace.main.malloc(100, 0xa000);
  CHECK(trace.total() == Totals{0, 0});
  CHECK(trace.counted_only({}));
}

TEST_CASE("owner: a thread of the kernel has no memory") {
  Trace trace;
  trace.main.task.mm = 0;
  trace.main.malloc(100, 0xa000);
  CHECK(trace.total() == Totals{0, 0});
  CHECK(trace.counted_only({}));
}

TEST_CASE("owner: a child that shares the memory shares the owner, one that has its own does not") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  Thread shares(trace.kernel, {.tgid = 300, .tid = 300, .mm = kMm}, 0x10000, 0x20000);
  shares.malloc(20, 0xb000);
  shares.free(0xa000);
  CHECK(trace.live() == Totals{20, 1});
  Thread forked(trace.kernel, {.tgid = 301, .tid = 301, .mm = kNewMm}, 0x20000, 0x30000);
  forked.free(0xb000);
  CHECK(trace.live() == Totals{20, 1});
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({}));
}

TEST_CASE("owner: the same address in two processes is two blocks") {
  Trace trace;
  const uint32_t tgid = 200;
  const tm_selected chosen{.mm = 0, .generation = 2, .unused = 0};
  REQUIRE(trace.kernel.table("selected").update(&tgid, &chosen, 0) == 0);
  Thread second(trace.kernel, {.tgid = tgid, .tid = tgid, .mm = kNewMm}, 0x10000, 0x20000);
  trace.main.malloc(100, 0xa000);
  second.malloc(20, 0xa000);
  CHECK(trace.live() == Totals{120, 2});
  second.free(0xa000);
  CHECK(trace.live() == Totals{100, 1});
  CHECK(trace.block(0xa000).size_bytes == 100);
  CHECK(trace.adds_up());
  CHECK(trace.counted_only({}));
}

TEST_CASE("exec: a new generation, what was live stays with the old one") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  trace.kernel.ring.clear();
  trace.kernel.now_ns = 8000;
  trace.main.task.mm = kNewMm;
  trace.kernel.exec(trace.main.task);
  REQUIRE(generation(trace, 1).has_value());
  CHECK(generation(trace, 1)->life == TM_LIFE_EXECED);
  CHECK(generation(trace, 1)->ended_ns == 8000);
  REQUIRE(trace.kernel.ring.size() == 1);  // tells of the new owner
  tm_rule_key news{};
  std::memcpy(&news, trace.kernel.ring[0].data(), sizeof(news));
  CHECK(news.owner == 2);
  CHECK(news.pc == 0);
  REQUIRE(generation(trace, 2).has_value());
  CHECK(generation(trace, 2)->by_thread == 0);
  CHECK(generation(trace, 2)->life == TM_LIFE_RUNNING);
  CHECK(generation(trace, 2)->tgid == 100);
  CHECK(trace.kernel.table("owners").size() == 0);

  trace.main.malloc(20, 0xa000);
  const auto owners = keys(trace);
  REQUIRE(owners.size() == 2);
  CHECK(owners[0].owner != owners[1].owner);
  CHECK(trace.live() == Totals{120, 2});
  trace.main.free(0xa000);
  CHECK(trace.live() == Totals{100, 1});
  CHECK(trace.block(0xa000).size_bytes == 100);
  CHECK(trace.counted_only({}));
}

TEST_CASE("exec: of another thread than the leader leaves the probes behind") {
  Trace trace;
  trace.kernel.exec(trace.main.task, 101);
  CHECK(generation(trace, 2)->by_thread == 1);
}

TEST_CASE("fork: a child that shares the memory is counted, no thread and no copy") {
  Trace trace;
  const Task& parent = trace.main.task;
  const Task stranger{.tgid = 400, .tid = 400, .mm = kNewMm};
  trace.kernel.fork(parent, {.tgid = 100, .tid = 102, .mm = kMm});
  trace.kernel.fork(parent, {.tgid = 300, .tid = 300, .mm = kNewMm});
  trace.kernel.fork(stranger, {.tgid = 401, .tid = 401, .mm = kNewMm});
  CHECK(trace.counted_only({}));
  trace.kernel.fork(parent, {.tgid = 300, .tid = 300, .mm = kMm});
  CHECK(trace.counted_only({{TM_COUNTER_sharing_children, {1, 0}}}));
}

TEST_CASE("exec: before the first event, twice, and where nobody asked") {
  Trace trace;
  trace.kernel.exec(trace.main.task);
  trace.kernel.exec(trace.main.task);
  CHECK(generation(trace, 2)->life == TM_LIFE_EXECED);
  CHECK(generation(trace, 3)->life == TM_LIFE_RUNNING);
  trace.kernel.exec({.tgid = 300, .tid = 300, .mm = kNewMm});
  CHECK_FALSE(generation(trace, 4).has_value());
  CHECK(trace.counted_only({}));
}

TEST_CASE("exec: a generation that finds no room is counted") {
  Trace trace;
  trace.kernel.table("generations").set_capacity(1);
  trace.kernel.exec(trace.main.task);
  CHECK(trace.counted_only({{TM_COUNTER_processes_full, {1, 0}}}));
}

TEST_CASE("all: who is born or becomes a program is traced, from the first call on") {
  Trace trace;
  set_constants({.self_tgid = 700, .select_all = true});
  Thread child(trace.kernel, {.tgid = 300, .tid = 300, .mm = kNewMm}, 0x10000, 0x20000);
  trace.kernel.fork(trace.main.task, child.task);
  REQUIRE(generation(trace, 2).has_value());
  CHECK(generation(trace, 2)->tgid == 300);
  CHECK(generation(trace, 2)->parent == kOwner);
  CHECK(generation(trace, 2)->by_exec == 0);
  child.malloc(20, 0xa000);
  CHECK(trace.live() == Totals{20, 1});
  trace.kernel.exec(child.task);
  CHECK(generation(trace, 2)->life == TM_LIFE_EXECED);
  CHECK(generation(trace, 3)->by_exec == 1);
  CHECK(generation(trace, 3)->parent == 0);
  // Somebody whom nobody saw born.
  trace.kernel.exec({.tgid = 301, .tid = 301, .mm = 0x7000});
  CHECK(generation(trace, 4)->tgid == 301);
  CHECK(generation(trace, 4)->by_exec == 1);
  CHECK(trace.counted_only({}));
}

TEST_CASE("all: no kernel thread, no helper of ours, no thread of a process that is known") {
  Trace trace;
  set_constants({.self_tgid = 700, .select_all = true});
  trace.kernel.fork({.tgid = 2, .tid = 2, .mm = 0}, {.tgid = 301, .tid = 301, .mm = 0});
  trace.kernel.fork({.tgid = 700, .tid = 700, .mm = 0x7000},
                    {.tgid = 701, .tid = 701, .mm = 0x8000});
  trace.kernel.fork(trace.main.task, {.tgid = 100, .tid = 102, .mm = kMm});
  CHECK(trace.kernel.table("generations").size() == 1);
  CHECK(trace.counted_only({}));
}

TEST_CASE("all: a child that shares the memory counts for its parent") {
  Trace trace;
  set_constants({.self_tgid = 700, .select_all = true});
  trace.main.malloc(100, 0xa000);
  Thread shares(trace.kernel, {.tgid = 300, .tid = 300, .mm = kMm}, 0x10000, 0x20000);
  trace.kernel.fork(trace.main.task, shares.task);
  shares.free(0xa000);
  CHECK(trace.live() == Totals{0, 0});
  CHECK(trace.counted_only({}));
}

namespace {

std::vector<std::pair<uint32_t, uint32_t>> news_of(const Trace& trace) {
  std::vector<std::pair<uint32_t, uint32_t>> told;
  for (const auto& record : trace.kernel.news) {
    tm_news news{};
    REQUIRE(record.size() == sizeof(news));
    std::memcpy(&news, record.data(), sizeof(news));
    told.emplace_back(news.tgid, news.kind);
  }
  return told;
}

}  // namespace

TEST_CASE("news: children of what is traced or watched, no threads, and only when wanted") {
  Trace trace;
  const Task& parent = trace.main.task;
  const Task watched{.tgid = 500, .tid = 500, .mm = 0x5000};
  const Task stranger{.tgid = 600, .tid = 600, .mm = 0x6000};
  const uint32_t watched_tgid = 500, one = 1;
  REQUIRE(trace.kernel.table("watched_parents").update(&watched_tgid, &one, 0) == 0);
  const auto fork_all = [&] {
    trace.kernel.fork(parent, {.tgid = 100, .tid = 102, .mm = kMm});
    trace.kernel.fork(parent, {.tgid = 300, .tid = 300, .mm = kNewMm});
    trace.kernel.fork(watched, {.tgid = 501, .tid = 501, .mm = kNewMm});
    trace.kernel.fork(stranger, {.tgid = 601, .tid = 601, .mm = kNewMm});
    trace.kernel.exec(stranger);
  };
  fork_all();
  CHECK(news_of(trace).empty());
  set_constants({.tell_children = true});
  fork_all();
  using Told = std::vector<std::pair<uint32_t, uint32_t>>;
  CHECK(news_of(trace) == Told{{300, TM_NEWS_CHILD}, {501, TM_NEWS_CHILD}});
  trace.kernel.news.clear();
  set_constants({.tell_execs = true});
  fork_all();
  CHECK(news_of(trace) == Told{{600, TM_NEWS_EXEC}});
  CHECK(trace.counted_only({}));
}

TEST_CASE("exit: the last thread ends the generation, its code is kept") {
  Trace trace;
  trace.main.malloc(100, 0xa000);
  trace.kernel.exit(trace.other.task, {.code = 9, .threads_left = 1});
  CHECK(generation(trace, 1)->life == TM_LIFE_RUNNING);
  trace.kernel.now_ns = 8000;
  SUBCASE("of the last thread") {
    trace.kernel.exit(trace.main.task, {.code = 3 << 8});
    CHECK(generation(trace, 1)->exit_code == 3 << 8);
  }
  SUBCASE("of the group") {
    trace.kernel.exit(trace.main.task, {.code = 0, .group_code = 15});
    CHECK(generation(trace, 1)->exit_code == 15);
  }
  CHECK(generation(trace, 1)->life == TM_LIFE_EXITED);
  CHECK(generation(trace, 1)->ended_ns == 8000);
  CHECK(trace.kernel.table("owners").size() == 0);
  CHECK(trace.kernel.table("selected").size() == 0);
  // The number and the mm belong to another process now.
  trace.main.malloc(20, 0xb000);
  CHECK(trace.live() == Totals{100, 1});
  CHECK(trace.counted_only({}));
}

TEST_CASE("exit: a dead thread's state is dropped where the kernel does not do it") {
  Trace trace;
  set_constants({.task_storage = false});
  trace.other.malloc(20, 0xb000);
  CHECK(trace.kernel.table("threads_by_tid").size() == 1);
  trace.kernel.exit(trace.other.task, {.threads_left = 1});
  CHECK(trace.kernel.table("threads_by_tid").size() == 0);
}
