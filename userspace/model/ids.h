// SPDX-License-Identifier: Apache-2.0
//
// The ids and addresses of the model. An owner is a generation of an address space: a number that
// tidemark gives to an mm when it first sees it, new at exec and fork, never used twice in a run.
// Kernel memory has owner 0.
#pragma once

#include <cstdint>

#include "support/strong.h"

namespace tidemark::model {

using Pid = Strong<struct PidTag, int32_t>;           // a process as people know it (BPF's tgid)
using Address = Strong<struct AddressTag, uint64_t>;  // virtual, in the owner's address space
using Generation = Strong<struct GenerationTag, uint32_t>;
using StackId =
    Strong<struct StackIdTag, uint64_t>;  // 64-bit hash of the frames; 0 = the stack was lost

inline constexpr StackId kStackLost{0};

enum class Kind { kHeap, kMapping, kSlab, kPage, kVmalloc, kPercpu };

}  // namespace tidemark::model
