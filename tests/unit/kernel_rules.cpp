// SPDX-License-Identifier: Apache-2.0
//
// From facts to a plan, on hosts that we make up.
#include "kernel/rules.h"

#include <doctest/doctest.h>
#include <sys/utsname.h>

#include <algorithm>

using namespace tidemark;
using kernel::Facts;

namespace {

Facts full_host() {
  const kernel::Fact yes{.present = true, .reason = ""};
  return {.release = "6.12",
          .machine = "x86_64",
          .bpf = yes,
          .btf = yes,
          .uprobe_multi = yes,
          .uprobe_multi_pid = yes,
          .uprobe_session = yes,
          .emulated_jumps = yes,
          .emulated_long_nops = yes,
          .task_storage = yes,
          .attach_cookie = yes,
          .seccomp_returns = yes,
          .syscall_tracepoints = yes,
          .whole_syscall_programs = yes};
}

void take(kernel::Fact& fact, std::string reason) {
  fact = {.present = false, .reason = std::move(reason)};
}

kernel::HeapPlan plan(const Facts& facts) {
  const auto made = kernel::plan_heap(facts);
  REQUIRE(made.has_value());
  return *made;
}

}  // namespace

TEST_CASE("plan: a host that has everything uses it") {
  const auto made = plan(full_host());
  CHECK(made.uprobes == UprobeMethod::kMulti);
  CHECK(made.thread_state == kernel::ThreadState::kTaskStorage);
  CHECK(made.cookies == kernel::Cookies::kAttached);
}

TEST_CASE("plan: without BPF or BTF there is none, and the reason is the fact's own") {
  Facts facts = full_host();
  take(facts.btf, "no BTF {here}");
  CHECK(kernel::plan_heap(facts).error().text == "no BTF {here}");
  take(facts.bpf, "run as root");
  CHECK(kernel::plan_heap(facts).error().text == "run as root");
}

TEST_CASE("plan: one perf event a probe where uprobe_multi is missing or filters wrongly") {
  Facts facts = full_host();
  SUBCASE("missing") {
    take(facts.uprobe_multi, "x");
    take(facts.uprobe_multi_pid, "x");
  }
  SUBCASE("its filter means a thread") {
    take(facts.uprobe_multi_pid, "x");
  }
  SUBCASE("a filter of nothing") {
    take(facts.uprobe_multi, "x");
  }
  const auto made = plan(facts);
  CHECK(made.uprobes == UprobeMethod::kPerf);
  CHECK(made.thread_state == kernel::ThreadState::kTaskStorage);
  CHECK(made.cookies == kernel::Cookies::kAttached);
}

TEST_CASE("plan: threads by number where the kernel has no task storage") {
  Facts facts = full_host();
  take(facts.task_storage, "x");
  const auto made = plan(facts);
  CHECK(made.thread_state == kernel::ThreadState::kHashByTid);
  CHECK(made.uprobes == UprobeMethod::kMulti);
}

TEST_CASE("plan: probes by address where the kernel has no cookies") {
  Facts facts = full_host();
  take(facts.attach_cookie, "x");
  CHECK(plan(facts).cookies == kernel::Cookies::kByAddress);
}

TEST_CASE("plan: sessions where they are there, and uprobe_multi can be used at all") {
  Facts facts = full_host();
  CHECK(plan(facts).sessions);
  SUBCASE("not there") {
    take(facts.uprobe_session, "x");
  }
  SUBCASE("no filter by process") {
    take(facts.uprobe_multi_pid, "x");
  }
  CHECK_FALSE(plan(facts).sessions);
}

TEST_CASE("plan: the least that a host may have") {
  Facts facts = full_host();
  for (kernel::Fact* fact : {&facts.uprobe_multi, &facts.uprobe_multi_pid, &facts.uprobe_session,
                             &facts.task_storage, &facts.attach_cookie}) {
    take(*fact, "x");
  }
  const auto made = plan(facts);
  CHECK(made.uprobes == UprobeMethod::kPerf);
  CHECK(made.thread_state == kernel::ThreadState::kHashByTid);
  CHECK(made.cookies == kernel::Cookies::kByAddress);
}

TEST_CASE("plan: mappings need the tracepoints, and copies of programs that may be skipped") {
  Facts facts = full_host();
  REQUIRE(kernel::plan_mappings(facts).has_value());
  CHECK(kernel::plan_mappings(facts)->programs == kernel::SyscallPrograms::kOnce);
  take(facts.whole_syscall_programs, "x");
  REQUIRE(kernel::plan_mappings(facts).has_value());
  CHECK(kernel::plan_mappings(facts)->programs == kernel::SyscallPrograms::kSeveralTimes);
  CHECK(kernel::plan_heap(facts).has_value());
  take(facts.syscall_tracepoints, "none {here}");
  REQUIRE_FALSE(kernel::plan_mappings(facts).has_value());
  CHECK(kernel::plan_mappings(facts).error().text == "none {here}");
  CHECK(kernel::plan_heap(facts).has_value());
}

TEST_CASE("describe: a row for every fact, what is missing says why in its own words") {
  Facts facts = full_host();
  const auto rows = kernel::describe(facts);
  CHECK(rows.size() == 12);
  for (const auto& row : rows) {
    CHECK(row.ok);
    CHECK_FALSE(row.detail.empty());
  }
  take(facts.task_storage, "reason one");
  take(facts.bpf, "reason two");
  const auto fewer = kernel::describe(facts);
  REQUIRE(fewer.size() == rows.size());
  CHECK(std::ranges::count(fewer, false, &kernel::Finding::ok) == 2);
  for (const char* reason : {"reason one", "reason two"}) {
    CHECK(std::ranges::count_if(fewer, [&](const kernel::Finding& row) {
            return row.detail == reason && !row.ok;
          }) == 1);
  }
  for (std::size_t i = 0; i < rows.size(); ++i) CHECK(fewer[i].what == rows[i].what);
}

TEST_CASE("facts: this host, with whatever rights there are: what is missing says why") {
  const Facts facts = kernel::probe_host();
  utsname names{};
  REQUIRE(::uname(&names) == 0);
  CHECK(facts.release == names.release);
  CHECK(facts.machine == names.machine);
  for (const auto& row : kernel::describe(facts)) {
    CHECK_MESSAGE(!row.detail.empty(), row.what);
    CHECK_MESSAGE(row.detail.find('\n') == std::string::npos, row.what);
  }
  CHECK((facts.uprobe_multi.present || !facts.uprobe_multi_pid.present));
}
