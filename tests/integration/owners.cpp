// SPDX-License-Identifier: Apache-2.0
#include "owners.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

namespace tidemark::test {

using model::OwnersPath;

Plant::Plant(const std::string& kind, long amount)
    : target("memory_plants", {kind, std::to_string(amount)}), ledger(target.run()) {}

std::string Plant::comm() const {
  std::ifstream file("/proc/" + target.pid_text() + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

bool cannot_look() {
  return ::geteuid() != 0 && skip_because("looking into other processes needs root");
}

bool kernel_names(const std::string& name) {
  std::ifstream file("/sys/kernel/btf/vmlinux", std::ios::binary);
  const std::string types{std::istreambuf_iterator<char>(file), {}};
  return types.find('\0' + name + '\0') != std::string::npos;
}

model::MemoryOwners owners_by(OwnersPath path) {
  const collect::OwnersReader reader(
      {.prefer = path, .tmpfs_entries = 100'000, .tmpfs_largest = 10});
  auto owners = reader.read();
  for (const model::Coverage& line : owners.coverage) {
    if (line.hook == "iter/task_file" && path == OwnersPath::kIterator) {
      REQUIRE_MESSAGE(line.state == model::HookState::kOn, line.reason.value_or(""));
    }
  }
  REQUIRE(owners.path == path);
  return owners;
}

std::optional<std::string> reason_against(const model::MemoryOwners& owners,
                                          const std::string& hook) {
  for (const model::Coverage& line : owners.coverage) {
    if (line.hook != hook || line.state == model::HookState::kOn) continue;
    REQUIRE(line.reason);
    return line.reason;
  }
  return std::nullopt;
}

void on_both_paths(const std::function<void(const model::MemoryOwners&)>& check,
                   const std::string& hook) {
  for (const OwnersPath path : {OwnersPath::kIterator, OwnersPath::kProc}) {
    const std::string name = path == OwnersPath::kIterator ? "the iterator" : "/proc";
    CAPTURE(name);
    const auto owners = owners_by(path);
    const auto reason = reason_against(owners, hook);
    if (path == OwnersPath::kProc && reason) {
      MESSAGE("not to be seen in /proc here: " << *reason);
    } else {
      check(owners);
    }
  }
}

std::vector<model::Socket> sockets_of(const model::MemoryOwners& owners, const Plant& plant) {
  std::vector<model::Socket> found;
  std::ranges::copy_if(owners.sockets, std::back_inserter(found),
                       [&](const model::Socket& socket) { return plant.holds(socket.holder); });
  return found;
}

std::vector<model::GhostHolder> holders_of(const model::MemoryOwners& owners, const Plant& plant,
                                           model::GhostMaker maker) {
  std::vector<model::GhostHolder> found;
  std::ranges::copy_if(owners.holders, std::back_inserter(found),
                       [&](const model::GhostHolder& each) {
                         return each.maker == maker && plant.holds(each.holder);
                       });
  return found;
}

}  // namespace tidemark::test
