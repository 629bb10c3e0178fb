// SPDX-License-Identifier: Apache-2.0
#include "task_records.h"

#include <deque>
#include <map>

extern "C" {
#include "vmlinux.h"
}

namespace tidemark::bpf_host {
namespace {

// As include/linux/xarray.h has them: six bits of the index a level, and a tag on pointers to
// nodes.
constexpr unsigned kBitsALevel = 6;
constexpr uint64_t kNodeTag = 2;
constexpr std::size_t kSharedMemory = 2;  // of ipc_namespace.ids

}  // namespace

struct TaskRecords::Records {
  std::map<uint64_t, mm_struct> memories;
  std::map<uint32_t, shmid_kernel> segments;  // by index
  std::deque<xa_node> nodes;
  ipc_namespace ipc{};
  nsproxy proxy{};

  void* subtree(uint32_t prefix, unsigned shift);
  void plant();
};

// The slots below `prefix`, which stands for the bits of the index above those of this level.
void* TaskRecords::Records::subtree(uint32_t prefix, unsigned shift) {
  xa_node& node = nodes.emplace_back();
  node = {};
  node.shift = static_cast<unsigned char>(shift);
  for (auto& [index, segment] : segments) {
    if (uint64_t{index} >> (shift + kBitsALevel) != prefix) continue;
    void*& slot = node.slots[(index >> shift) & ((1u << kBitsALevel) - 1)];
    if (shift == 0) {
      slot = &segment;
    } else if (slot == nullptr) {
      slot = subtree(index >> shift, shift - kBitsALevel);
    }
  }
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(&node) | kNodeTag);
}

// The tree is as high as its last index needs; a lone entry at 0 has no node.
void TaskRecords::Records::plant() {
  nodes.clear();
  const uint32_t last = segments.rbegin()->first;
  unsigned shift = 0;
  while (last >> (shift + kBitsALevel) != 0) shift += kBitsALevel;
  ipc.ids[kSharedMemory].ipcs_idr.idr_rt.xa_head =
      last == 0 ? static_cast<void*>(&segments.begin()->second) : subtree(0, shift);
}

TaskRecords::TaskRecords() : records_(std::make_unique<Records>()) {
  records_->proxy.ipc_ns = &records_->ipc;
}

TaskRecords::~TaskRecords() = default;

mm_struct* TaskRecords::memory(uint64_t mm) {
  return mm == 0 ? nullptr : &records_->memories[mm];
}

uint64_t TaskRecords::address_of(uint64_t mm) {
  return reinterpret_cast<uintptr_t>(memory(mm));
}

void TaskRecords::set_break(uint64_t mm, uint64_t address) {
  memory(mm)->brk = address;
}

void TaskRecords::set_stack_start(uint64_t mm, uint64_t address) {
  memory(mm)->start_stack = address;
}

void TaskRecords::add_segment(uint32_t id, uint32_t index, uint64_t bytes) {
  shmid_kernel segment{};
  segment.shm_perm.id = static_cast<int>(id);
  segment.shm_segsz = bytes;
  records_->segments[index] = segment;
  records_->plant();
}

nsproxy* TaskRecords::namespaces() {
  return &records_->proxy;
}

}  // namespace tidemark::bpf_host
