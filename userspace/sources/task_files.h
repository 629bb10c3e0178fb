// SPDX-License-Identifier: Apache-2.0
//
// Every open descriptor and mapping of every process and namespace that leads to kernel or shared
// memory, by reading BPF iterators over the kernel's own tables: milliseconds, and nothing is
// attached or traced. The programs are loaded once and run as often as wanted. Needs the privileges
// of tracing. Single-threaded.
#pragma once

#include <memory>
#include <vector>

#include "model/owner_table.h"
#include "support/result.h"

namespace tidemark::sources {

// Of a BPF arena: pages that were handed out.
struct ArenaPages {
  uint32_t map_id = 0;
  uint64_t pages = 0;
};

class TaskFiles {
 public:
  // Errors: no permission, no BTF, a kernel without iter/task_file, a program that is refused.
  [[nodiscard]] static Result<TaskFiles> open();
  TaskFiles(TaskFiles&&) noexcept;
  TaskFiles& operator=(TaskFiles&&) noexcept;
  ~TaskFiles();

  // Adds sockets, pipes, perf and io_uring rings, nameless files and the holders of BPF maps that
  // descriptors lead to. Returns the descriptors of GPU devices, of which only their fdinfo tells
  // more.
  [[nodiscard]] Result<std::vector<model::Opening>> read(model::OwnerTable& table) const;
  // The same for what mappings lead to: they hold it after the descriptor was closed. Costs about a
  // microsecond a mapping, a hundred times as much as the descriptors.
  [[nodiscard]] Status read_mappings(model::OwnerTable& table) const;
  // None where the kernel has no arenas or keeps their free ranges in another way.
  [[nodiscard]] Result<std::vector<ArenaPages>> read_arenas() const;

 private:
  struct Programs;
  explicit TaskFiles(std::unique_ptr<Programs> programs);
  std::unique_ptr<Programs> programs_;
};

}  // namespace tidemark::sources
