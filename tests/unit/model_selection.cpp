// SPDX-License-Identifier: Apache-2.0
//
// Which processes a selection names.
#include "model/selection.h"

#include <doctest/doctest.h>

using namespace tidemark::model;

namespace {

using Pids = std::vector<Pid>;
using Cgroups = std::vector<std::string>;

ProcessEntry process(int32_t pid, int32_t parent, std::string comm, Cgroups cgroups = {"/"}) {
  return {Pid{pid}, Pid{parent}, std::move(comm), std::move(cgroups), false};
}

// init, a server with two workers, one of which has a child, and ourselves below a shell.
std::vector<ProcessEntry> machine() {
  std::vector<ProcessEntry> processes = {
      process(1, 0, "init"),
      process(10, 1, "nginx", {"/", "/web/front"}),
      process(11, 10, "nginx", {"/", "/web/front"}),
      process(12, 10, "nginx", {"/", "/web"}),
      process(13, 12, "gzip", {"/webs"}),
      process(20, 1, "a-very-long-nam"),
      process(30, 1, "bash"),
      process(31, 30, "tidemark"),
      process(2, 0, "nginx"),
  };
  processes.back().kernel_thread = true;
  return processes;
}

Pids chosen(const Selection& selection) {
  return select(selection, machine(), Pid{31});
}

}  // namespace

TEST_CASE("select: by pid, by name, by parent, by cgroup, all") {
  CHECK(chosen({}).empty());
  CHECK(chosen({.pids = {Pid{12}, Pid{1}, Pid{99}}}) == Pids{Pid{1}, Pid{12}});
  CHECK(chosen({.comms = {"nginx"}}) == Pids{Pid{10}, Pid{11}, Pid{12}});
  CHECK(chosen({.comms = {"ngin"}}).empty());
  CHECK(chosen({.children_of = {Pid{10}}}) == Pids{Pid{11}, Pid{12}, Pid{13}});
  CHECK(chosen({.cgroups = {"/web"}}) == Pids{Pid{10}, Pid{11}, Pid{12}});
  CHECK(chosen({.cgroups = {"/web/front"}}) == Pids{Pid{10}, Pid{11}});
  CHECK(chosen({.all = true}).size() == 7);
}

TEST_CASE("select: all are all but ourselves, our helpers and the kernel's threads") {
  const Selection all{.all = true};
  const std::vector<ProcessEntry> processes = {process(5, 1, "a"), process(6, 5, "tidemark-probes"),
                                               process(7, 6, "b")};
  CHECK(select(all, processes, Pid{5}) == Pids{Pid{7}});
  CHECK(select({.comms = {"tidemark-probes"}}, processes, Pid{5}) == Pids{Pid{6}});
}

TEST_CASE("select: a name is cut as the kernel cuts it") {
  CHECK(chosen({.comms = {"a-very-long-name"}}) == Pids{Pid{20}});
}

TEST_CASE("select: several ways name the sum, each process once") {
  CHECK(chosen({.pids = {Pid{10}}, .children_of = {Pid{10}}, .comms = {"nginx", "gzip"}}) ==
        Pids{Pid{10}, Pid{11}, Pid{12}, Pid{13}});
}

TEST_CASE("select: never ourselves, though the shell's children are asked for") {
  CHECK(chosen({.children_of = {Pid{30}}}).empty());
  CHECK(chosen({.comms = {"tidemark"}}).empty());
}

TEST_CASE("select: parents that make a circle end the search") {
  const std::vector<ProcessEntry> circle = {process(5, 6, "a"), process(6, 5, "b")};
  CHECK(select({.children_of = {Pid{7}}}, circle, Pid{1}).empty());
  CHECK(select({.children_of = {Pid{5}}}, circle, Pid{1}) == Pids{Pid{5}, Pid{6}});
}

TEST_CASE("selection: what is not named by pid is a group") {
  CHECK(!Selection{}.is_group());
  CHECK(!Selection{.pids = {Pid{1}, Pid{2}}}.is_group());
  CHECK(Selection{.comms = {"nginx"}}.is_group());
  CHECK(Selection{.command = {"ls"}}.is_group());
}

TEST_CASE("cgroup path: by its mount, by itself, without its slashes") {
  const std::vector<std::string> mounts = {"/sys/fs/cgroup", "/sys/fs/cgroup/memory"};
  CHECK(cgroup_path("/sys/fs/cgroup/memory/web", mounts) == "/web");
  CHECK(cgroup_path("/sys/fs/cgroup/web/", mounts) == "/web");
  CHECK(cgroup_path("/sys/fs/cgroup", mounts) == "/");
  CHECK(cgroup_path("/web/front", mounts) == "/web/front");
  CHECK(cgroup_path("web", mounts) == "/web");
  CHECK(cgroup_path("/sys/fs/cgroups", mounts) == "/sys/fs/cgroups");
}
