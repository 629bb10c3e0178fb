// SPDX-License-Identifier: Apache-2.0
//
// `tidemark kernel` says which control group kernel memory is charged to: a plant in a group of its
// own, of either version.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "tidemark.h"

using namespace tidemark::test;

namespace {

// A group below the root of the hierarchy that accounts memory. Goes with the test; what was in it
// has ended by then.
class MemoryGroup {
 public:
  MemoryGroup() : name_("/tidemark_owner_" + std::to_string(::getpid())) {
    if (std::filesystem::exists("/sys/fs/cgroup/memory/cgroup.procs")) {
      mount_ = "/sys/fs/cgroup/memory";
    } else {
      mount_ = "/sys/fs/cgroup";
      std::ofstream(mount_ + "/cgroup.subtree_control") << "+memory\n";
    }
    is_there_ = ::mkdir((mount_ + name_).c_str(), 0755) == 0;
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;
  ~MemoryGroup() {
    for (int i = 0; i < 50 && ::rmdir((mount_ + name_).c_str()) != 0; ++i) ::usleep(100'000);
  }

  [[nodiscard]] bool is_there() const { return is_there_; }
  [[nodiscard]] const std::string& path() const { return name_; }
  void take(pid_t pid) const {
    std::ofstream procs(mount_ + name_ + "/cgroup.procs");
    procs << pid << std::endl;
    REQUIRE(procs.good());
  }

 private:
  std::string name_;
  std::string mount_;
  bool is_there_ = false;
};

// Live blocks of a kind that the report says are charged to the group.
long charged_to(const Json& report, const std::string& kind, const std::string& path) {
  long count = 0;
  for (const Json& row : report.at("call_sites")) {
    if (row.at("kind") != kind) continue;
    long of_row = 0;
    for (const Json& share : row.at("cgroups")) {
      of_row += share.at("live_count").get<long>();
      if (share.at("path") == path) count += share.at("live_count").get<long>();
    }
    CHECK(of_row <= row.at("live_count").get<long>() + 64);  // the machine goes on meanwhile
  }
  return count;
}

void check_charged(const char* kind_of_plant, long amount, const char* space, const char* kind,
                   long at_least) {
  if (cannot_trace()) return;
  const MemoryGroup group;
  REQUIRE_MESSAGE(group.is_there(), "no control group can be made here: is memory accounted?");
  Target plant("memory_plants", {kind_of_plant, std::to_string(amount)});
  group.take(plant.pid());
  Trace trace("kernel", {space, "--quiet"});
  trace.wait_until_tracing();
  plant.run();
  const Outcome outcome = trace.finish();
  plant.say("quit");
  REQUIRE(plant.process().wait_exit().has_value());
  REQUIRE(outcome.exit_code == 0);
  INFO(outcome.out);
  const long count = charged_to(outcome.report(), kind, group.path());
  CHECK(count >= at_least);
  CHECK(count <= at_least * 2 + 400);
}

}  // namespace

TEST_CASE("kernel_owner_of_slab_objects_is_their_control_group") {
  const long count = scaled(4000, 400);
  check_charged("messages", count, "--slab", "slab", count);
}

TEST_CASE("kernel_owner_of_pages_is_their_control_group") {
  const long pipes = scaled(32, 8);  // of 1 MiB each
  check_charged("pipes", pipes, "--pages", "page", pipes * 256);
}
