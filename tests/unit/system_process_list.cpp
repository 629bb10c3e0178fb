// SPDX-License-Identifier: Apache-2.0
//
// What /proc says of a process that is selected.
#include "system/process_list.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>

using namespace tidemark;
using Paths = std::vector<std::string>;

TEST_CASE("stat: pid, parent and name") {
  const auto entry = system::parse_stat(
      "4711 (nginx) S 1 4711 4711 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 3 9 9 1 2 3\n");
  REQUIRE(entry);
  CHECK(entry->pid == model::Pid{4711});
  CHECK(entry->parent == model::Pid{1});
  CHECK(entry->comm == "nginx");
  CHECK(!entry->kernel_thread);
}

TEST_CASE("stat: a name with blanks and parentheses") {
  const auto entry = system::parse_stat("5 (a) S 9 (x) R 77 5 5 0 -1 0 1");
  REQUIRE(entry);
  CHECK(entry->comm == "a) S 9 (x");
  CHECK(entry->parent == model::Pid{77});
}

TEST_CASE("stat: a kernel thread") {
  const auto entry = system::parse_stat("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0");
  REQUIRE(entry);
  CHECK(entry->kernel_thread);
}

TEST_CASE("stat: cut off or nonsense is none") {
  for (const char* text :
       {"", "12", "12 (a", "12 a) S 1", "x (a) S 1 1 1 1 1 1", ")(", "1 (a) S"}) {
    CAPTURE(text);
    CHECK(!system::parse_stat(text));
  }
}

TEST_CASE("cgroups: each path once, colons in it kept") {
  CHECK(system::parse_cgroups("4:memory:/web\n1:name=systemd:/a:b\n0::/web\n") ==
        Paths{"/web", "/a:b"});
  CHECK(system::parse_cgroups("nonsense\n4:memory\n").empty());
}

TEST_CASE("cgroup mounts: of both versions") {
  CHECK(system::parse_cgroup_mounts(
            "25 30 0:22 / /sys rw - sysfs sysfs rw\n"
            "33 25 0:29 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory\n"
            "34 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
            "35 25 0:31 / /broken\n") == Paths{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"});
}

TEST_CASE("list: we are in it, below our parent") {
  const auto processes = system::list_processes();
  const auto self = std::ranges::find(processes, model::Pid{::getpid()}, &model::ProcessEntry::pid);
  REQUIRE(self != processes.end());
  CHECK(self->parent == model::Pid{::getppid()});
  CHECK(!self->cgroups.empty());
  CHECK(!system::read_entry(model::Pid{0}));
}
