// SPDX-License-Identifier: Apache-2.0
//
// TaskRecords: what programs reach from a task by following pointers: where the break of its memory
// stands, and the System V segments of its namespace.
#pragma once

#include <cstdint>
#include <memory>

struct mm_struct;
struct nsproxy;

namespace tidemark::bpf_host {

class TaskRecords {
 public:
  TaskRecords();
  ~TaskRecords();

  // The address space that tests know as `mm`; none where that is 0. Keeps its address.
  [[nodiscard]] mm_struct* memory(uint64_t mm);
  // The same as maps hold it.
  [[nodiscard]] uint64_t address_of(uint64_t mm);
  void set_break(uint64_t mm, uint64_t address);
  // Where the main thread's stack ends; unknown until then.
  void set_stack_start(uint64_t mm, uint64_t address);
  // At `index` of the namespace's tree, where the kernel put it.
  void add_segment(uint32_t id, uint32_t index, uint64_t bytes);
  [[nodiscard]] nsproxy* namespaces();

 private:
  struct Records;
  std::unique_ptr<Records> records_;
};

}  // namespace tidemark::bpf_host
