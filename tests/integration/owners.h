// SPDX-License-Identifier: Apache-2.0
//
// How the tests of owners_*.cpp look: planted memory has to be found with its owner and its bytes,
// by the kernel's iterator and by /proc alike. What the plant took comes from its own ledger, never
// from our output. Needs root.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "collect/memory_owners.h"
#include "tidemark.h"

namespace tidemark::test {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kPage = 4096;

// A run of the target memory_plants that has planted.
struct Plant {
  Target target;
  Json ledger;

  Plant(const std::string& kind, long amount);
  [[nodiscard]] uint64_t bytes() const { return ledger["bytes"].get<uint64_t>(); }
  [[nodiscard]] int fd() const { return ledger["fd"].get<int>(); }
  // What the kernel calls it: some name a program that was opened before it ran by its descriptor.
  [[nodiscard]] std::string comm() const;
  [[nodiscard]] bool holds(const std::optional<model::Holder>& holder) const {
    return holder && holder->pid.value == target.pid();
  }
};

// Not run as root: said, and left out.
bool cannot_look();

// Is there a type or function of this name in the kernel's BTF?
bool kernel_names(const std::string& name);

model::MemoryOwners owners_by(model::OwnersPath path);

// Why this kernel cannot say it; as the coverage has it.
std::optional<std::string> reason_against(const model::MemoryOwners& owners,
                                          const std::string& hook);

// Runs the check on what each of the two ways gives. `hook`: what /proc cannot do without; where
// the kernel was built without it, that has to stand in the coverage, and the check is left out.
void on_both_paths(const std::function<void(const model::MemoryOwners&)>& check,
                   const std::string& hook = "");

// What the plant holds.
std::vector<model::Socket> sockets_of(const model::MemoryOwners& owners, const Plant& plant);
std::vector<model::GhostHolder> holders_of(const model::MemoryOwners& owners, const Plant& plant,
                                           model::GhostMaker maker);
template <typename Row>
const Row* row_of(const std::vector<Row>& rows, const Plant& plant) {
  const auto found =
      std::ranges::find_if(rows, [&](const Row& row) { return plant.holds(row.holder); });
  return found != rows.end() ? &*found : nullptr;
}

}  // namespace tidemark::test
