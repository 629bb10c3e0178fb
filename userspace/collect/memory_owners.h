// SPDX-License-Identifier: Apache-2.0
//
// OwnersReader: who holds which memory now, out of the kernel's iterators, /proc, sysfs and
// netlink. Keeps the BPF programs loaded, so that one is made once and read() as often as wanted.
// It reports what it may read and says in the coverage what not; it never fails. Single-threaded;
// enters other namespaces on threads of its own.
#pragma once

#include <optional>

#include "model/memory_owners.h"
#include "model/owner_table.h"
#include "sources/task_files.h"

namespace tidemark::collect {

struct OwnersOptions {
  // How descriptors are walked. Where the iterator cannot be had, /proc is read in its place.
  model::OwnersPath prefer = model::OwnersPath::kIterator;
  // Files looked at in each tmpfs, and of them named.
  std::size_t tmpfs_entries = 100'000;
  std::size_t tmpfs_largest = 10;
};

class OwnersReader {
 public:
  explicit OwnersReader(OwnersOptions options);
  [[nodiscard]] model::MemoryOwners read() const;

 private:
  [[nodiscard]] bool walk_by_iterator(model::OwnerTable& table, model::MemoryOwners& owners) const;
  void walk_mappings(model::OwnerTable& table, model::MemoryOwners& owners) const;
  void read_maps(model::MemoryOwners& owners) const;

  OwnersOptions options_;
  std::optional<sources::TaskFiles> task_files_;
  std::optional<std::string> no_iterator_;  // why
};

}  // namespace tidemark::collect
