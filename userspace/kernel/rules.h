// SPDX-License-Identifier: Apache-2.0
//
// From facts to a plan: pure, one function for each decision. What a plan leaves out, it says why.
#pragma once

#include <string>
#include <vector>

#include "kernel/facts.h"
#include "support/uprobe.h"

namespace tidemark::kernel {

enum class ThreadState { kTaskStorage, kHashByTid };

// How a probe knows which allocator it sits on: the kernel carries its cookie, or we note its
// address.
enum class Cookies { kAttached, kByAddress };

struct HeapPlan {
  UprobeMethod uprobes = UprobeMethod::kMulti;
  ThreadState thread_state = ThreadState::kTaskStorage;
  Cookies cookies = Cookies::kAttached;
  bool sessions = false;  // a call's entry and return by one program
};

// An error where the host cannot trace at all: one line with what to do.
[[nodiscard]] Result<HeapPlan> plan_heap(const Facts& facts);

// How often a program of a system call is attached: where the kernel may skip one, the first copy
// that runs does the work.
enum class SyscallPrograms { kOnce, kSeveralTimes };

struct MappingPlan {
  SyscallPrograms programs = SyscallPrograms::kOnce;
};

// An error where mappings cannot be followed.
[[nodiscard]] Result<MappingPlan> plan_mappings(const Facts& facts);

// A row of `tidemark doctor`: what is there, or what follows from its absence.
struct Finding {
  std::string what;
  bool ok = false;
  std::string detail;
};
[[nodiscard]] std::vector<Finding> describe(const Facts& facts);

}  // namespace tidemark::kernel
